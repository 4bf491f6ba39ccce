"""What turns a failure into an explanation: at which sizes it shows, and which known mistake it is."""

"""Plans and runs: which checks meet which cases, in which process, and what is told of it."""

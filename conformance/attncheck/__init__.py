"""Is this attention right?"""

"""Renderers: they listen to the events of a run, or read a report that was saved."""

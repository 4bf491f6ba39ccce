"""Plain data that every other room speaks of: cases, findings, verdicts, reports."""

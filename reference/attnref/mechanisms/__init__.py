"""One mechanism a file; the file is named as the mechanism's id."""

"""Studies: many variants of one experiment under several seeds, with statistics and a page."""

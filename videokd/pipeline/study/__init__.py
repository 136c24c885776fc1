"""Many variants of one experiment under several seeds: trained once each, scored, compared."""

"""Page models: what is in the ledger, as what a page shows. Pure; words are the templates'."""

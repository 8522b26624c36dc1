"""How fast stylecore is and how much memory it takes, beside its peers; see README.md here."""

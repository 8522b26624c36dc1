"""Speed and memory of stylecore compared with its peers; see README.md here."""

"""Who may do what: people and access tokens with a role each, how they log in, and the log of what they did."""

"""Who may ask for what: Host, Origin and cross-site rules."""

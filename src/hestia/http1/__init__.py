"""HTTP/1.1 in both directions: fields, framing, targets, upstream connections and their pool, frame heads."""

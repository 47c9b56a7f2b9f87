"""What stores are built of: parts that are the same whatever the database, to be filled in by each of them."""

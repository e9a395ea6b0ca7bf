"""What a training run says of itself: small pictures while it goes on, one HTML page at any time."""

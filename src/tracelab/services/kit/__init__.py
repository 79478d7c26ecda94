"""What each service would otherwise copy."""

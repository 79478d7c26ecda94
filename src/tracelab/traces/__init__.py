"""Pure functions over spans: trees, shapes, matching. No framework and no I/O."""

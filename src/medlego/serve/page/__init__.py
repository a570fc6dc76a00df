"""The page for people: images answered and explained, states compared, bricks changed."""

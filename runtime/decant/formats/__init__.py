"""What files hold: the ``.dcn`` container, a bundle's manifest, alpha planes, images, rectangles, tensors."""

"""Training data: folders of images, packed photos, MNIST, CIFAR-100, pictures from installed wheels."""

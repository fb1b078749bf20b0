"""Looking into a trained model's latent space: sheets, directions, projections of images, paths."""

import io

from PIL import Image

from server.film.curves import plot_curves


def test_curves_are_a_picture():
    curves = {key: [1.0, 0.5, 0.2] for key in ("step", "predict", "sigreg", "evaluation_step", "predict_mse")}
    curves |= {key: [1.0, 1.0, 1.0] for key in ("copy_mse", "shuffled_mse", "latent_std", "effective_rank")}
    image = Image.open(io.BytesIO(plot_curves("tiny-lewm", curves, latent_width=16)))
    assert image.format == "PNG" and image.width > 600

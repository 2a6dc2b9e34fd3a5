"""Images side by side: lines lie where they do in the picture, and all images of a row have one scale."""

import base64
import io
import itertools
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from bids_alps.model import Array
from bids_alps.report.panels import Panel, Row, contours, draw_panels
from bids_alps.report.slices import Display

DISPLAY = Display(display_from_subject=np.eye(4), low=np.array([-40.0, -30, -20]), high=np.array([40.0, 50, 60]))


def elements(svg, tag):
    return [element for element in ElementTree.fromstring(svg).iter() if element.tag.endswith(tag)]  # noqa: S314


def box_of(element):
    return np.array([float(element.get(name)) for name in ("x", "y", "width", "height")])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_contour_encloses_the_bright_pixels_of_its_image(axis):
    plane = DISPLAY.plane(axis, 0.0)
    picture: Array = np.zeros(plane.points.shape[:2])
    picture[50:60, 10:30] = 1.0  # rows upwards
    outline = contours(picture, plane, 0.5, "#ffffff")
    svg = draw_panels([Row(panels=[Panel(plane=plane, picture=picture, shapes=(outline,))])], ())
    (image,), (path,) = elements(svg, "image"), elements(svg, "path")
    numbers = [int(number) for number in re.findall(r"-?\d+", path.get("d"))]
    points = np.cumsum(np.reshape(numbers, (-1, 2)), axis=0) / 10  # first absolute, then steps
    per_pixel = box_of(image)[2] / picture.shape[1]
    low, high = points.min(axis=0) / per_pixel, points.max(axis=0) / per_pixel
    np.testing.assert_allclose([low, high], [[10, picture.shape[0] - 60], [30, picture.shape[0] - 50]], atol=0.1)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(image.get("href").partition(",")[2]))).convert("L"))
    np.testing.assert_array_equal(shown, 255 * picture[::-1])


def test_images_of_a_row_have_one_scale_and_do_not_overlap():
    planes = [DISPLAY.plane(axis, 0.0, corners=np.array([[-40.0, -30, -20], [40, 50, 10]])) for axis in (2, 1, 0)]
    panels = [Panel(plane=plane, picture=np.zeros(plane.points.shape[:2])) for plane in planes]
    boxes = [
        box_of(image) for image in elements(draw_panels([Row(panels=panels, label="SNR", top=7.0)], ("a",)), "image")
    ]
    scales = [box[2:] / panel.size for box, panel in zip(boxes, panels, strict=True)]
    np.testing.assert_allclose(scales, scales[0][0], rtol=0.01)
    assert all(one[0] + one[2] < other[0] for one, other in itertools.pairwise(boxes))


def test_words_are_escaped():
    assert "a < b & c" in "".join(ElementTree.fromstring(draw_panels([], ("a < b & c",))).itertext())  # noqa: S314

"""Pictures for notebooks: drawn where Graphviz is, text elsewhere."""

import shutil
import xml.etree.ElementTree as ET

import pytest

from nas import UserError, draw


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_a_network_is_drawn():
    bundle = draw("mobilenet_v2", "trial 3: 59.2 %")._repr_mimebundle_(include=None, exclude=None)
    assert bundle.keys() == {"text/plain", "image/svg+xml"}
    texts = [element.text for element in ET.fromstring(bundle["image/svg+xml"]).iter() if element.text]
    assert "trial 3: 59.2 %" in texts
    assert "linear 1000" in texts


def test_without_graphviz_it_is_text(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert draw("r1_k3_s11_e1_i32_o16 head_o8", "small")._repr_mimebundle_() == {
        "text/plain": "small\n  r1_k3_s11_e1_i32_o16\n  head_o8"
    }


def test_titles_and_classes():
    picture = draw("mobilenet_v1@0.5/160", num_classes=10)
    assert picture.title == "mobilenet_v1@0.5/160"
    assert "image 3 x 160 x 160" in picture.source
    assert "linear 10" in picture.source


def test_no_network():
    with pytest.raises(UserError, match="'mobile': not NAME"):
        draw("mobile")

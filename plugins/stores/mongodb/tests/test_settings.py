from __future__ import annotations

import pytest
from aats_store_mongodb import MongoStore
from pydantic import ValidationError


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://localhost:27017/",
        "mongodb://ada:hunter%402@a,b:1/?replicaSet=rs0&tls=true",
        "mongodb+srv://cluster.example/?srvMaxHosts=1&retryWrites=true",
    ],
)
def test_an_address_that_the_driver_takes_is_taken(url: str) -> None:
    assert MongoStore.Settings(url=url).url.get_secret_value() == url


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://127.0.0.1:1", r"begin with mongodb:// .*; an address looks like mongodb://host"),
        ("mongodb://a:99999", "hosts and port are not valid; an address"),
        ("mongodb://ada:hunter:2@a/?retryWrites=true", r"an address looks like .* are written %2F"),
        ("mongodb://ada:hunter2/x@a", "an address looks like"),
        ("mongodb://ada:hunter2?hunter2=x@a", "an address looks like"),
        ("mongodb://ada:hunter2", "an address looks like"),
        ("mongodb://ada:hunter2@a/?bogus=1", r"Unknown option: bogus\. Did you mean"),
        ("mongodb+srv://ada:hunter2@a/?bogus=1", r"Unknown option: bogus\. Did you mean"),
        ("mongodb://a/?tls=maybe", "tls must be 'true' or 'false'"),
        ("mongodb://a/?replicaSet=a&replicaSet=b", "Duplicate URI option"),
    ],
)
def test_another_is_refused_and_no_password_repeated(url: str, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint) as refused:
        MongoStore.Settings(url=url)
    (problem,) = refused.value.errors(include_input=False)
    assert problem["loc"] == ("url",)
    assert "hunter" not in problem["msg"]

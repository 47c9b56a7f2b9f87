"""Plugins are found without being imported, and what is wrong with one harms no other."""

from __future__ import annotations

import subprocess
import sys

import pytest

from aats_core.errors import PluginBroken, PluginNotFound
from aats_core.plugins import Catalog, Plugin, PluginKind, discover, settings_model
from aats_core.settings import AgentSettings, BrokerSettings

AGENTS = "aats.agents"
GOOD = """
    from aats_core import Agent
    class Good(Agent): ...
"""


def load_error(catalog, name, kind=PluginKind.AGENT):
    with pytest.raises(PluginBroken) as caught:
        catalog.load(kind, name)
    return str(caught.value)


class TestDiscovery:
    def test_lists_kind_name_distribution_version_and_target(self, site):
        site.add("acme-good", {AGENTS: {"good": "acme_good:Good"}}, version="2.1")

        assert site.catalog().plugins == (Plugin(PluginKind.AGENT, "good", "acme-good", "2.1", "acme_good:Good"),)

    def test_imports_nothing(self, site):
        site.add("acme-bad", {AGENTS: {"bad": "acme_bad:Bad"}}, modules={"acme_bad": "raise SystemExit('imported')"})

        assert site.catalog().find(PluginKind.AGENT, "bad").distribution == "acme-bad"
        assert "acme_bad" not in sys.modules

    def test_finds_every_kind_and_passes_over_groups_of_others(self, site):
        groups = {f"aats.{kind}s": {"x": "m:X"} for kind in PluginKind}
        site.add("acme-all", groups | {"console_scripts": {"x": "m:x"}, "aats.other": {"y": "m:Y"}})

        assert {plugin.kind for plugin in site.catalog().plugins} == set(PluginKind)
        assert len(site.catalog().plugins) == len(PluginKind)

    def test_one_name_may_stand_in_two_groups(self, site):
        site.add("acme", {"aats.stores": {"redis": "m:Store"}, "aats.brokers": {"redis": "m:Broker"}})

        catalog = site.catalog()

        assert catalog.find(PluginKind.STORE, "redis").target == "m:Store"
        assert catalog.find(PluginKind.BROKER, "redis").target == "m:Broker"
        assert catalog.problems == ()

    @pytest.mark.parametrize(
        ("file", "content"),
        [
            ("METADATA", b"Metadata-Version: 2.1\nVersion: 1.0\n"),
            ("METADATA", b"Metadata-Version: 2.1\nName: acme-torn\n"),
            ("entry_points.txt", b"[aats.agents]\ntorn\n"),
            ("entry_points.txt", b"[aats.agents]\n\xff\xfe = m:X\n"),
        ],
    )
    def test_broken_metadata_is_reported_and_harms_no_other(self, site, file, content):
        site.add("acme-good", {AGENTS: {"good": "acme_good:Good"}})
        torn = site.add("acme-torn", {AGENTS: {"torn": "acme_torn:Torn"}})
        (torn / file).write_bytes(content)

        catalog = site.catalog()

        assert [plugin.name for plugin in catalog.plugins] == ["good"]
        (problem,) = catalog.problems
        assert "acme_torn-1.0.dist-info" in problem
        assert "reinstall it" in problem

    def test_a_distribution_that_lies_on_the_path_twice_counts_once(self, site, tmp_path):
        site.add("acme-good", {AGENTS: {"good": "new:Good"}}, version="2.0")
        behind = type(site)(tmp_path / "behind")
        behind.path.mkdir()
        behind.add("acme_good", {AGENTS: {"good": "old:Good"}}, version="1.0")

        catalog = discover([str(site.path), str(behind.path)])

        assert catalog.find(PluginKind.AGENT, "good").version == "2.0"
        assert catalog.problems == ()

    def test_the_embedded_plugins_are_found(self):
        found = {(plugin.kind, plugin.name) for plugin in discover().plugins}

        assert {(PluginKind.BROKER, "memory"), (PluginKind.STORE, "sqlite"), (PluginKind.AGENT, "shell")} <= found


class TestTwoOffersOfOneName:
    @pytest.fixture
    def catalog(self, site) -> Catalog:
        site.add("acme-one", {AGENTS: {"both": "m:A", "good": "acme_good:Good"}}, modules={"acme_good": GOOD})
        site.add("acme-two", {AGENTS: {"both": "m:B"}}, version="3.0")
        return site.catalog()

    def test_are_reported_with_both_distributions(self, catalog):
        (problem,) = catalog.problems
        assert "'both'" in problem
        assert "acme-one 1.0 and acme-two 3.0" in problem

    def test_neither_is_loaded(self, catalog):
        assert "uninstall all but one" in load_error(catalog, "both")

    def test_other_names_are_loaded(self, catalog):
        assert catalog.load(PluginKind.AGENT, "good").__name__ == "Good"


class TestLoading:
    def test_imports_only_what_is_asked_for(self, site):
        site.add("acme-good", {AGENTS: {"good": "acme_good:Good"}}, modules={"acme_good": GOOD})
        site.add("acme-other", {AGENTS: {"other": "acme_other:Other"}}, modules={"acme_other": GOOD})

        cls = site.catalog().load(PluginKind.AGENT, "good")

        assert cls.__module__ == "acme_good"
        assert "acme_other" not in sys.modules

    def test_a_missing_plugin_comes_with_the_command_that_installs_it(self, site):
        with pytest.raises(PluginNotFound, match=r"to install it: pip install aats-store-postgres$"):
            site.catalog().load(PluginKind.STORE, "postgres")

    def test_a_missing_plugin_comes_with_names_near_it_of_its_kind(self, site):
        site.add("acme", {"aats.stores": {"postgres": "m:P"}, AGENTS: {"postgress": "m:A"}})

        with pytest.raises(PluginNotFound, match=r"'postgress' is installed \(near: postgres\)"):
            site.catalog().load(PluginKind.STORE, "postgress")

    def test_a_name_near_it_that_two_distributions_offer_is_said_once(self, site):
        site.add("acme-one", {AGENTS: {"shell": "m:A"}})
        site.add("acme-two", {AGENTS: {"shell": "m:A"}})

        with pytest.raises(PluginNotFound, match=r"\(near: shell\)"):
            site.catalog().load(PluginKind.AGENT, "shel")

    def test_an_import_that_raises_is_reported_with_the_line_of_the_plugin(self, site):
        source = "\nimport json\njson.loads('{')\n"
        site.add("acme-bad", {AGENTS: {"bad": "acme_bad:Bad"}}, modules={"acme_bad": source})

        message = load_error(site.catalog(), "bad")

        assert "agent plugin 'bad' (acme-bad 1.0) cannot be imported: JSONDecodeError: " in message
        assert f"(at {site.path / 'acme_bad.py'}:3)" in message

    def test_a_missing_library_is_named(self, site):
        source = "import surely_not_installed"
        site.add("acme-bad", {AGENTS: {"bad": "acme_bad:Bad"}}, modules={"acme_bad": source})

        assert "No module named 'surely_not_installed'" in load_error(site.catalog(), "bad")

    def test_a_missing_module_of_its_own_is_named(self, site):
        site.add("acme-bad", {AGENTS: {"bad": "acme_gone:Bad"}})

        assert "ModuleNotFoundError: No module named 'acme_gone'" in load_error(site.catalog(), "bad")

    def test_a_syntax_error_is_reported_with_its_line(self, site):
        site.add("acme-bad", {AGENTS: {"bad": "acme_bad:Bad"}}, modules={"acme_bad": "x = 1\nclass Bad(:\n"})

        assert f"(at {site.path / 'acme_bad.py'}:2)" in load_error(site.catalog(), "bad")

    def test_a_module_that_exits_does_not_end_the_process(self, site):
        site.add("acme-bad", {AGENTS: {"bad": "acme_bad:Bad"}}, modules={"acme_bad": "raise SystemExit(3)"})

        assert "SystemExit: 3" in load_error(site.catalog(), "bad")

    def test_a_missing_class_is_named(self, site):
        site.add("acme-bad", {AGENTS: {"bad": "acme_bad:Missing"}}, modules={"acme_bad": ""})

        assert "has no attribute 'Missing'" in load_error(site.catalog(), "bad")

    @pytest.mark.parametrize("target", ["", "no target", "acme_bad", ":Bad", "acme_bad:Bad:Bad"])
    def test_an_entry_point_that_names_no_class_is_reported(self, site, target):
        site.add("acme-bad", {AGENTS: {"bad": target}}, modules={"acme_bad": "class Bad: ..."})

        assert "agent plugin 'bad' (acme-bad 1.0)" in load_error(site.catalog(), "bad")

    @pytest.mark.parametrize("source", ["Bad = 3", "class Bad: ...", "from aats_core import Broker as Bad"])
    def test_what_is_no_class_of_its_kind_is_refused(self, site, source):
        site.add("acme-bad", {AGENTS: {"bad": "acme_bad:Bad"}}, modules={"acme_bad": source})

        assert "acme_bad:Bad is not a subclass of aats_core.agent.Agent" in load_error(site.catalog(), "bad")

    def test_an_incomplete_class_is_refused_with_what_it_lacks(self, site):
        source = """
            from aats_core import Integration
            class Bad(Integration):
                async def start(self): ...
        """
        site.add("acme-bad", {"aats.integrations": {"bad": "acme_bad:Bad"}}, modules={"acme_bad": source})

        message = load_error(site.catalog(), "bad", PluginKind.INTEGRATION)
        assert message.endswith("acme_bad:Bad does not implement health, stop")

    @pytest.mark.parametrize("settings", ["3", "dict", "BrokerSettings"])
    def test_settings_that_are_no_model_of_its_kind_are_refused(self, site, settings):
        source = f"""
            from aats_core import Agent, BrokerSettings
            class Bad(Agent):
                Settings = {settings}
        """
        site.add("acme-bad", {AGENTS: {"bad": "acme_bad:Bad"}}, modules={"acme_bad": source})

        assert "not a subclass of aats_core.settings.AgentSettings" in load_error(site.catalog(), "bad")

    def test_a_class_without_settings_takes_what_every_section_may_hold(self):
        assert settings_model(PluginKind.BROKER, object) is BrokerSettings
        assert settings_model(PluginKind.AGENT, object) is AgentSettings

    def test_an_interrupt_is_not_taken_for_a_broken_plugin(self, site):
        site.add("acme-bad", {AGENTS: {"bad": "acme_bad:Bad"}}, modules={"acme_bad": "raise KeyboardInterrupt"})

        with pytest.raises(KeyboardInterrupt):
            site.catalog().load(PluginKind.AGENT, "bad")


def test_a_plugin_installed_while_another_is_broken_can_be_used(site):
    site.add("acme-bad", {AGENTS: {"bad": "acme_bad:Bad"}}, modules={"acme_bad": "1 / 0"})
    site.add("acme-good", {AGENTS: {"good": "acme_good:Good"}}, modules={"acme_good": GOOD})
    script = (
        "from aats_core.plugins import *; c = discover(); print(c.load(PluginKind.AGENT, 'good').__name__, c.problems)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(site.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout.strip() == "Good ()"

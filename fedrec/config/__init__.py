"""Scenarios: everything that a run can be told, typed, with defaults, validated once at the rim.

A scenario is a TOML file or a table of the same shape. After ``load_scenario`` nothing in fedrec reads raw settings.
"""

from fedrec.config.audit import AuditConfig
from fedrec.config.data import DataConfig, TextEncoderName
from fedrec.config.evaluation import EvaluationConfig, SelectionConfig
from fedrec.config.federation import BufferConfig, CodecConfig, CodecName, FederationConfig, Place
from fedrec.config.model import Branch, Member, ModelConfig
from fedrec.config.privacy import InteractionConfig, PrivacyConfig
from fedrec.config.reading import known_keys, load_scenario, parse_scenario
from fedrec.config.robustness import RobustnessConfig, RuleName
from fedrec.config.run import RunConfig, TrackerName
from fedrec.config.scenario import Scenario
from fedrec.config.section import Section
from fedrec.config.training import LocalConfig, Loss, TrainingConfig

__all__ = [
    "AuditConfig",
    "Branch",
    "BufferConfig",
    "CodecConfig",
    "CodecName",
    "DataConfig",
    "EvaluationConfig",
    "FederationConfig",
    "InteractionConfig",
    "LocalConfig",
    "Loss",
    "Member",
    "ModelConfig",
    "Place",
    "PrivacyConfig",
    "RobustnessConfig",
    "RuleName",
    "RunConfig",
    "Scenario",
    "Section",
    "SelectionConfig",
    "TextEncoderName",
    "TrackerName",
    "TrainingConfig",
    "known_keys",
    "load_scenario",
    "parse_scenario",
]

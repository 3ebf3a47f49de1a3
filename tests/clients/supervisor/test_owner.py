from clients.local_store import LocalStore
from clients.supervisor.owner import objection


def test_training_needs_both_the_policy_s_consent_and_the_owner_s(device):
    with LocalStore.open(device.store) as store:
        assert objection(device, store) == ""
        store.set_consent(False)
        assert "has not consented" in objection(device, store)
        store.set_consent(True)
        device.policy.write_text("consent = false\n")
        assert "policy does not consent" in objection(device, store)


def test_a_policy_that_cannot_be_read_consents_to_nothing(device):
    device.policy.write_text("consent = \n")
    with LocalStore.open(device.store) as store:
        assert "policy does not consent" in objection(device, store)

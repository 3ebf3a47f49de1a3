"""What the local service answers, and with which status it refuses."""

from dataclasses import replace

import pytest

from clients.local_store import Event, LocalStore
from clients.service import device_pb2 as pb
from clients.service.answers import Answers
from clients.service.client import ServiceError
from tests.clients.local_store.tables import num_replies


def items(reply):
    return [pick.item for pick in reply.recommendations]


def refusal(call, *arguments, **options):
    with pytest.raises(ServiceError) as caught:
        call(*arguments, **options)
    return caught.value.code, str(caught.value)


def test_before_the_first_model_the_most_popular_items_are_recommended(client):
    reply = client.recommend(k=3)
    assert items(reply) == ["item-0", "item-1", "item-2"]
    assert (reply.source, reply.model_version, reply.catalogue_version) == (pb.SOURCE_POPULARITY, 0, 1)
    assert reply.recommendations[0].title == "ITEM-0"


def test_feedback_is_visible_in_the_very_next_answer(client):
    for _ in range(5):
        best = items(client.recommend(k=1))[0]
        client.record(best)
        assert best not in items(client.recommend(k=12))


def test_excluded_items_are_left_out_and_unknown_ones_passed_over(client):
    assert items(client.recommend(k=2, exclude=["item-0", "no such item"])) == ["item-1", "item-2"]


def test_a_list_ends_where_the_catalogue_does(client):
    assert len(client.recommend(k=1000).recommendations) == 12


def test_ten_items_are_recommended_where_no_number_is_said(client):
    assert len(client.recommend(k=0).recommendations) == 10


def test_asking_for_too_many_items_says_how_many_may_be_asked_for(client):
    assert refusal(client.recommend, k=1001) == ("INVALID_ARGUMENT", "k must be from 1 to 1000, got 1001")
    code, message = refusal(client.recommend, k=101, explain=True)
    assert code == "INVALID_ARGUMENT"
    assert "100 with reasons" in message
    assert refusal(client.recommend, exclude=["x"] * 1001)[0] == "INVALID_ARGUMENT"


def test_without_a_catalogue_the_answer_says_where_it_comes_from(start, bare_home, settings):
    code, message = refusal(start(bare_home, settings).recommend)
    assert code == "FAILED_PRECONDITION"
    assert "no catalogue yet" in message


def test_an_event_is_kept_before_there_is_a_catalogue(start, bare_home, settings):
    client = start(bare_home, settings)
    assert client.record("anything") == 1
    assert client.status().source == pb.SOURCE_NONE


def test_an_item_that_the_catalogue_does_not_know_is_refused_unless_it_is_to_be_kept(client):
    code, message = refusal(client.record, "no such item")
    assert code == "NOT_FOUND"
    assert "keep_unknown" in message
    assert client.record("no such item", keep_unknown=True) == 1


@pytest.mark.parametrize(
    ("event", "what"),
    [
        ({"item": ""}, "item"),
        ({"item": "item-1", "kind": "Not A Word"}, "kind"),
        ({"item": "item-1", "value": float("nan")}, "value"),
        ({"item": "item-1", "time": -1.0}, "time"),
        ({"item": "item-1", "time": float("nan")}, "time"),
        ({"item": "item-1", "time": 1e12}, "time"),
        ({"item": "x" * 257}, "item"),
    ],
)
def test_an_event_that_makes_no_sense_is_refused_by_the_field(client, event, what):
    code, message = refusal(client.record, **event)
    assert code == "INVALID_ARGUMENT"
    assert what in message
    assert client.status().num_events == 0


def test_a_device_of_several_users_asks_whose_list_it_is_and_keeps_them_apart(start, home, settings):
    home.store.unlink()
    settings = replace(settings, users=("ann", "bob"))

    LocalStore.create(home.store, settings.users).close()
    client = start(home, settings)
    assert refusal(client.recommend) == ("INVALID_ARGUMENT", "this device has several users: name one")
    client.record("item-0", user="ann")
    assert items(client.recommend(user="ann", k=1)) == ["item-1"]
    assert items(client.recommend(user="bob", k=1)) == ["item-0"]


def test_a_user_of_another_name_is_refused_without_telling_who_there_is(client):
    for call in (client.recommend, lambda user: client.record("item-1", user=user)):
        code, message = refusal(call, user="eve")
        assert code == "NOT_FOUND"
        assert "me" not in message.split()


def test_consent_is_given_and_withdrawn_with_the_time_of_the_change(client):
    assert client.consent().version == 0
    given = client.set_consent(True)
    assert (given.version, given.granted, given.scope) == (1, True, "training")
    withdrawn = client.set_consent(False)
    assert (withdrawn.version, withdrawn.granted) == (2, False)
    assert withdrawn.time >= given.time > 1e9
    assert client.consent() == withdrawn
    assert refusal(client.set_consent, True, scope="Not A Word")[0] == "INVALID_ARGUMENT"


def test_withdrawing_consent_deletes_replies_that_are_not_sent(client, home):

    client.set_consent(True)
    with LocalStore.open(home.store) as store:
        store.put_reply("0" * 32, b"reply", 1)
        client.set_consent(False)
        assert num_replies(store) == 0


def test_the_status_tells_the_device_and_nothing_of_its_events(client):
    client.record("item-3")
    status = client.status()
    assert (status.num_items, status.num_users, status.num_events) == (12, 1, 1)
    assert status.can_record
    assert "item-3" not in str(status)
    assert list(status.notices) == ["There is no model yet: recommendations are what others chose most."]


def test_the_status_tells_what_was_counted_and_that_the_server_stopped_training(client, home):

    with LocalStore.open(home.store) as store:
        store.count("refused", "consent")
        store.count("refused", "consent")
    home.orders.write_text('{"kind": "orders", "payload": {"stop": true, "reason": "a defect"}, "signature": ""}')
    status = client.status()
    assert [(phase.phase, phase.reason, phase.count) for phase in status.phases] == [("refused", "consent", 2)]
    assert (status.training_stopped, status.stop_reason) == (True, "a defect")


def test_a_new_catalogue_is_taken_up_while_the_service_runs(start, home, settings, new_catalogue):

    with Answers.of(home, settings) as answers:
        new_catalogue(2, ("new-0", "new-1"))
        answers.reload()
        reply = answers.Recommend(pb.RecommendRequest(k=1), None)
    assert items(reply) == ["new-0"]
    assert reply.catalogue_version == 2


def test_the_export_comes_whole_through_many_pieces(client, monkeypatch):
    monkeypatch.setattr("clients.service.answers.CHUNK", 100)
    for number in range(12):
        client.record(f"item-{number}", kind="rating", value=number / 2)
    document = client.export()
    assert [event["item"] for event in document["events"]] == [f"item-{number}" for number in range(12)]
    assert document["users"] == ["me"]


def test_forgetting_leaves_no_event_and_is_not_done_by_mistake(client, home):
    client.record("item-5")
    client.set_consent(True)
    assert client.forget() == 1
    status = client.status()
    assert status.num_events == 0
    assert not status.consent.granted
    assert client.export()["events"] == []
    assert items(client.recommend(k=6))[-1] == "item-5"
    with pytest.raises(Exception, match="confirm"):
        client._stub.Forget(pb.ForgetRequest(), timeout=5)


def test_old_events_are_deleted_as_the_settings_say(home, settings):

    with LocalStore.open(home.store) as store:
        store.record(Event("me", "item-1", 0.0))
        store.record(Event("me", "item-2", 400 * 86_400.0))
        Answers(home, settings, store, clock=lambda: 401 * 86_400.0).retain()
        assert [event.item for event in store.events("me")] == ["item-2"]

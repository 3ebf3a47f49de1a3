"""The autoencoder: what is in its bag, what it draws, and what its divergence is."""

import torch

from fedrec.models.autoencoder import Autoencoder, LatentDraws

ITEMS, DIM = 7, 4


def warm() -> Autoencoder:
    torch.manual_seed(0)
    model = Autoencoder(ITEMS, DIM)
    for parameter in model.parameters():
        parameter.data.add_(0.5 * torch.randn_like(parameter))
    return model


def means(model: Autoencoder, history: list[int]) -> torch.Tensor:
    encoded = model(torch.tensor([history]), torch.ones(1, len(history)), None)
    return encoded.queries[0].detach()


def test_a_bag_has_no_order_and_holds_an_item_once() -> None:
    model = warm()
    expected = means(model, [1, 2, 3])[-1]
    torch.testing.assert_close(means(model, [3, 1, 2])[-1], expected)
    torch.testing.assert_close(means(model, [2, 1, 2, 3, 1])[-1], expected)


def test_the_bag_after_an_event_does_not_know_the_next() -> None:
    model = warm()
    torch.testing.assert_close(means(model, [1, 2, 3])[:2], means(model, [1, 2, 5])[:2])


def test_dropped_events_are_missing_from_the_bag_and_the_noise_follows_the_variance() -> None:
    model, history, mask = warm(), torch.tensor([[1, 2, 3]]), torch.ones(1, 3)
    still = LatentDraws(noise=torch.zeros(1, DIM), keep=torch.tensor([[1.0, 0.0, 1.0]]))
    with torch.no_grad():
        dropped = model(history, mask, still).queries[0, -1]
        hidden = torch.tanh(model.encoder[[1, 3]].sum(0) / 3**0.5 + model.bias)
        torch.testing.assert_close(dropped, model.mean(hidden))
        moved = model(history, mask, LatentDraws(noise=torch.ones(1, DIM), keep=still.keep)).queries[0, -1]
        torch.testing.assert_close(moved - dropped, torch.exp(model.log_variance(hidden) / 2))


def test_the_divergence_is_that_of_the_gaussian_from_the_standard_normal() -> None:
    model = warm()
    with torch.no_grad():
        got = model(torch.tensor([[4]]), torch.ones(1, 1), None).divergence
        hidden = torch.tanh(model.encoder[4] + model.bias)
        own = torch.distributions.Normal(model.mean(hidden), torch.exp(model.log_variance(hidden) / 2))
    prior = torch.distributions.Normal(torch.zeros(DIM), torch.ones(DIM))
    torch.testing.assert_close(got[0, 0], torch.distributions.kl_divergence(own, prior).sum())


def test_an_untrained_decoder_is_silent() -> None:
    assert not Autoencoder(ITEMS, DIM).decoder.any()

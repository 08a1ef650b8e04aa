import itertools
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from zoo.common import keys


def words(key):
    return tuple(np.asarray(jax.random.key_data(key)).ravel())


def test_the_domain_is_folded_in_first_and_then_the_numbers():
    with jax.debug_key_reuse(False):
        expected = jax.random.key(7)
        for number in (zlib.crc32(b"order"), 3, 4):
            expected = jax.random.fold_in(expected, np.uint32(number))
    assert words(keys.derive(7, "order", 3, 4)) == words(expected)


def test_a_number_and_its_key_give_the_same_and_so_does_a_traced_number():
    expected = words(keys.derive(5, "step", 2))
    assert words(keys.derive(jax.random.key(5), "step", 2)) == expected
    assert words(keys.derive(jnp.int32(5), "step", jnp.int32(2))) == expected
    assert words(jax.jit(lambda seed, n: keys.derive(seed, "step", n))(5, 2)) == expected


def test_every_seed_domain_and_number_has_a_key_of_its_own():
    numbers = [(), *itertools.product(range(4)), *itertools.product(range(4), range(4))]
    domains = ("weights", "training", "step", "order", "noise")
    derived = [
        words(keys.derive(seed, domain, *n))
        for seed in range(2)
        for domain in domains
        for n in numbers
    ]
    assert len(set(derived)) == 2 * len(domains) * len(numbers)
    # Nor do they meet the root keys and what is split or folded from them.
    with jax.debug_key_reuse(False):
        roots = [jax.random.key(seed) for seed in range(8)]
        plain = {words(root) for root in roots}
        for root in roots:
            plain |= {words(jax.random.fold_in(root, n)) for n in range(40)}
            plain |= {words(key) for key in jax.random.split(root, 40)}
    assert not plain & set(derived)


def test_a_key_of_an_image_follows_from_the_image_alone(getkey):
    rng, key = np.random.default_rng(0), getkey()
    images = rng.integers(0, 256, (40, 5, 4)).astype(np.uint8)
    images[1] = images[0]
    images[1, 0, 0] ^= 1  # one bit apart
    images[2] = images[0, ::-1]  # the same pixels in another order
    images[3], images[4] = 0, 255
    images[5] = 0
    images[5, -1, -1] = 1

    def of(images):
        return [words(one) for one in keys.of_content(jax.random.clone(key), images)]

    found = of(images)
    assert len(set(found)) == 40
    order = rng.permutation(40)
    assert of(images[order]) == [found[n] for n in order]
    assert of(images[7:8]) == found[7:8]
    assert of(np.tile(images[7:8], (3, 1, 1))) == 3 * found[7:8]
    assert not set(keys_of_another(images)) & set(found)


def keys_of_another(images):
    return [words(one) for one in keys.of_content(jax.random.key(1), images)]

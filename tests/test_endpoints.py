"""Endpoints: base URLs that are safe to ask, and tokens that nothing shows and that are made anew when refused."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import pprint
import traceback
from typing import TYPE_CHECKING

import msgspec
import pytest

from acetasks import AceTasksError, AuthenticationError, ServiceError, TransportError
from acetasks.endpoints import Endpoint, Secret, check_base_url
from acetasks.testing import run

if TYPE_CHECKING:
    from acetasks.endpoints import TokenProvider

TOKEN, OTHER_TOKEN = "sesame-0123456789", "millet-9876543210"
URL = "https://api.example"

#: Texts that no token is, each with a piece that no message may repeat.
FLAWED = [
    "",
    f"{TOKEN}\r\nx-evil: 1",
    f"{TOKEN}\n",
    f"{TOKEN} b",
    f"\t{TOKEN}",
    f"{TOKEN}\0",
    f"{TOKEN}é",
    f"{TOKEN}\x7f",
]


def now() -> float:
    """Tell the loop's time."""
    return asyncio.get_running_loop().time()


def new_endpoint(token: Secret | TokenProvider | None, **options: object) -> Endpoint:
    """Make an endpoint of a service that is never asked."""
    return Endpoint(base_url=URL, token=token, token_variable="ACEDATACLOUD_API_TOKEN", **options)


def expose(error: BaseException) -> str:
    """Tell all that an error's chain says, and what the frames of it hold that are not of this file."""
    found, pending = [], [traceback.TracebackException.from_exception(error, capture_locals=True)]
    while pending:
        told = pending.pop()
        pending += filter(None, (told.__cause__, told.__context__, *(told.exceptions or ())))
        frames = [frame for frame in told.stack if frame.filename != __file__]
        found += [*told.format_exception_only(), *(str(frame.locals) for frame in frames)]
    return "\n".join(found)


class Giver:
    """A token provider that gives one thing after the other, and the last one for ever.

    Args:
        gives: Tokens, or what else comes in their place; an exception is raised.
        takes: Seconds for each.

    Attributes:
        calls: When it was asked.
    """

    def __init__(self, *gives: object, takes: float = 0.0) -> None:
        self.calls: list[float] = []
        self._gives = list(gives)
        self._takes = takes

    async def __call__(self) -> str:
        """Give the next thing."""
        self.calls.append(now())
        given = self._gives.pop(0) if len(self._gives) > 1 else self._gives[0]
        await asyncio.sleep(self._takes)
        if isinstance(given, Exception):
            raise given
        return given


class TestBaseUrls:
    """What may be asked, and what would give the token away."""

    @pytest.mark.parametrize(
        "url",
        [
            "https://api.acedata.cloud",
            "https://api.acedata.cloud/",
            "https://api.acedata.cloud:8443/some/prefix/",
            "HTTPS://API.ACEDATA.CLOUD",
            "https://192.0.2.1",
            "https://[2001:db8::1]:8443",
            "https://exämple.org",
            "http://127.0.0.1",
            "http://127.8.9.10:8080",
            "http://localhost:8080",
            "http://LOCALHOST:8080/prefix",
            "http://[::1]:1",
            "http://x.localhost",
        ],
    )
    def test_takes_what_is_encrypted_or_this_machine(self, url):
        """TLS protects the token anywhere, and what stays on this machine needs none."""
        assert check_base_url(url, allow_insecure=False) is None
        assert Endpoint(base_url=url, token=None, token_variable="X").base_url == url

    @pytest.mark.parametrize(
        "url",
        [
            "http://example.com",
            "http://api.acedata.cloud:443",
            "http://192.168.0.1",
            "http://0.0.0.0:8080",
            "http://[2001:db8::1]",
            "http://localhost.example.com",
            "http://xlocalhost",
            "http://127.0.0.1.example.com",
        ],
    )
    def test_another_machine_is_asked_in_the_clear_only_on_request(self, url):
        """Without TLS the token could be read on the way: that takes the user's word that it is safe."""
        with pytest.raises(ValueError, match=r"would send the token unencrypted .* pass allow_insecure=True") as caught:
            new_endpoint_at(url)

        assert repr(url) in str(caught.value)
        assert new_endpoint_at(url, allow_insecure=True).base_url == url

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "api.acedata.cloud",
            "localhost:8080",
            "ftp://api.acedata.cloud",
            "ws://localhost",
            "https://",
            "https:///luma",
            "https://:443",
            "https://api.acedata.cloud:0",
            "https://api.acedata.cloud:65536",
            "https://api.acedata.cloud:http",
            "https://api.acedata.cloud?x=1",
            "https://api.acedata.cloud/?",
            "https://api.acedata.cloud#x",
            "https://api.acedata.cloud/#",
            "https://api..acedata.cloud",
            f"https://{'a' * 64}.example",
            " https://api.acedata.cloud",
            "https://api.acedata.cloud ",
            "https://api.acedata.cloud\r\n",
            "https://api.acedata\t.cloud",
            "http://example.com\\.localhost",
        ],
    )
    @pytest.mark.parametrize("allow_insecure", [False, True], ids=["safely", "insecurely"])
    def test_refuses_what_no_request_could_be_sent_to(self, url, allow_insecure):
        """What is no base URL is refused with its value and an example, whatever else is allowed."""
        with pytest.raises(ValueError, match=r"a base URL is like 'https://api\.acedata\.cloud'") as caught:
            new_endpoint_at(url, allow_insecure=allow_insecure)

        assert repr(url) in str(caught.value)

    @pytest.mark.parametrize("url", ["https://[::1", "https://[sesame]", "https://a\u2100b.example"])
    def test_refuses_what_cannot_be_taken_apart(self, url):
        """What the standard library refuses to read as a URL is refused, too."""
        with pytest.raises(ValueError, match=r"."):
            new_endpoint_at(url)

    @pytest.mark.parametrize("user", ["user:hunter2", "user", ":hunter2", ""])
    @pytest.mark.parametrize("rest", ["api.acedata.cloud", "localhost:1", "api.acedata.cloud:99999"])
    def test_refuses_a_password_without_repeating_it(self, user, rest):
        """Credentials in a URL end up in logs, and aiohttp would send them in the token's place."""
        with pytest.raises(ValueError, match="has a user name or password in it") as caught:
            new_endpoint_at(f"https://{user}@{rest}", allow_insecure=True)

        assert "hunter2" not in str(caught.value)
        assert rest.partition(":")[0] in str(caught.value)


def new_endpoint_at(url: str, **options: bool) -> Endpoint:
    """Make an endpoint at a base URL, without a token."""
    return Endpoint(base_url=url, token=None, token_variable="X", **options)


class TestSecrets:
    """A token that is shown to nobody who does not ask for it."""

    def test_gives_its_text_when_asked(self):
        """Only one way leads to the text."""
        assert Secret(TOKEN).reveal() == TOKEN

    @pytest.mark.parametrize(
        "show", [repr, str, "{}".format, "{!r:>20}".format, ascii, pprint.pformat, lambda secret: repr([{"a": secret}])]
    )
    def test_is_printed_without_its_text(self, show):
        """Whatever prints it prints that there is one."""
        assert "Secret(...)" in show(Secret(TOKEN))
        assert TOKEN not in show(Secret(TOKEN))

    @pytest.mark.parametrize(
        "write", [vars, pickle.dumps, copy.copy, copy.deepcopy, json.dumps, msgspec.json.encode, msgspec.to_builtins]
    )
    def test_is_not_written_down(self, write):
        """Whatever would write its fields down, or make another of it, is refused, and says nothing."""
        with pytest.raises(TypeError) as caught:
            write(Secret(TOKEN))

        assert TOKEN not in expose(caught.value)

    def test_is_equal_to_itself_alone(self):
        """A comparison does not tell whether a guess was right."""
        secret = Secret(TOKEN)

        assert secret == secret  # noqa: PLR0124  # that is the point
        assert secret != Secret(TOKEN)
        assert secret != TOKEN

    @pytest.mark.parametrize("text", FLAWED)
    def test_knows_what_no_token_has(self, text):
        """A token that could begin another header, or that no header can have, is found out."""
        flaw = Secret(text).find_flaw()

        assert flaw == ("has blanks, line ends or other signs that no token has" if text else "is empty")

    @pytest.mark.parametrize("text", [TOKEN, "a.b-c_d~e+f/g==", "platform-v1-1234", '!#$%&"'])
    def test_has_no_flaw_that_it_need_not_have(self, text):
        """Every visible ASCII sign may stand in a token."""
        assert Secret(text).find_flaw() is None


class TestEndpoints:
    """An endpoint in plain view."""

    @pytest.mark.parametrize(
        ("token", "shown"), [(Secret(TOKEN), "given"), (lambda: TOKEN, "from a provider"), (None, "none")]
    )
    def test_shows_everything_but_the_token(self, token, shown):
        """Its repr tells where it is and where its token comes from."""
        assert repr(new_endpoint(token)) == f"<Endpoint https://api.example token={shown}>"

    async def test_shows_no_token_that_it_was_given_later(self):
        """What a provider gave is no more shown than what the user gave."""
        endpoint = new_endpoint(lambda: TOKEN)
        await endpoint.authorize()

        assert repr(endpoint) == "<Endpoint https://api.example token=from a provider>"

    @pytest.mark.parametrize(
        "write", [vars, pickle.dumps, copy.copy, copy.deepcopy, msgspec.json.encode, msgspec.to_builtins]
    )
    def test_is_not_written_down(self, write):
        """Whatever would write its fields down is refused, and says nothing."""
        with pytest.raises(TypeError) as caught:
            write(new_endpoint(Secret(TOKEN)))

        assert TOKEN not in expose(caught.value)

    @pytest.mark.parametrize("text", FLAWED)
    def test_refuses_a_token_that_is_none(self, text):
        """A flawed token is refused before anything is sent, by the name of its service and without being repeated."""
        with pytest.raises(ValueError, match=r"the token for api\.example (is empty|has blanks)") as caught:
            new_endpoint(Secret(text))

        assert TOKEN not in expose(caught.value)


class TestAuthorizing:
    """`check` and `authorize`: the token to send a request with."""

    async def test_gives_the_token_that_it_was_given(self):
        """A token that was given is used as it is."""
        secret = Secret(TOKEN)
        endpoint = new_endpoint(secret)

        assert endpoint.check() is None
        assert await endpoint.authorize() is await endpoint.authorize() is secret

    @pytest.mark.parametrize(
        ("variable", "page"),
        [
            ("ACEDATACLOUD_API_TOKEN", "https://platform.acedata.cloud"),
            ("USEAPI_API_TOKEN", "https://useapi.net/docs/start-here/setup-useapi"),
        ],
    )
    async def test_says_where_to_get_a_token(self, variable, page):
        """Without a token the error names the variable that may have it and the page that gives one."""
        endpoint = Endpoint(base_url=URL, token=None, token_variable=variable)

        with pytest.raises(AuthenticationError, match=f"no token for {URL}.* set {variable}; get one at {page}$"):
            endpoint.check()
        with pytest.raises(AuthenticationError, match=f"no token for {URL}.* set {variable}; get one at {page}$"):
            await endpoint.authorize()

    @pytest.mark.parametrize("kind", ["function", "coroutine function", "object", "future"])
    async def test_asks_any_kind_of_provider(self, kind):
        """A provider is any callable that returns the token, or anything that can be awaited for it."""

        async def give() -> str:
            await asyncio.sleep(1)
            return TOKEN

        def give_later() -> asyncio.Future[str]:
            return asyncio.ensure_future(give())

        provider: dict[str, TokenProvider] = {
            "function": lambda: TOKEN,
            "coroutine function": give,
            "object": Giver(TOKEN),
            "future": give_later,
        }
        endpoint = new_endpoint(provider[kind])
        endpoint.check()

        assert (await endpoint.authorize()).reveal() == TOKEN

    async def test_asks_once(self):
        """However many need the first token, the provider is asked once, and its token is kept."""
        giver = Giver(TOKEN, OTHER_TOKEN, takes=3)
        endpoint = new_endpoint(giver)
        secrets = await asyncio.gather(*(endpoint.authorize() for _ in range(10)))
        await asyncio.sleep(10_000)

        assert {*secrets, await endpoint.authorize()} == {secrets[0]}
        assert secrets[0].reveal() == TOKEN
        assert giver.calls == [0.0]

    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            (OSError("vault is sealed"), "vault is sealed"),
            (ConnectionRefusedError(111, "refused"), r"\[Errno 111\] refused"),
            (OSError(), "OSError"),
            (TimeoutError(), "TimeoutError"),
        ],
        ids=["text", "number", "nothing", "timeout"],
    )
    async def test_a_provider_that_cannot_be_reached_may_be_reached_later(self, fault, reason):
        """An OSError is a passing fault, before which nothing was sent; the next request asks again."""
        endpoint = new_endpoint(Giver(fault, TOKEN))
        with pytest.raises(
            TransportError, match=f"^the token provider for {URL} could not be reached: {reason}$"
        ) as caught:
            await endpoint.authorize()

        assert not caught.value.reached
        assert caught.value.transient
        assert caught.value.__cause__ is fault
        assert (await endpoint.authorize()).reveal() == TOKEN

    async def test_a_provider_that_hangs_is_given_up(self):
        """A provider has its patience and no more, and is cancelled then."""
        ends = []

        async def hang() -> str:
            try:
                await asyncio.sleep(10_000)
            finally:
                ends.append(now())
            return TOKEN

        with pytest.raises(TransportError, match="could not be reached: TimeoutError") as caught:
            await new_endpoint(hang, patience=12.5).authorize()

        assert not caught.value.reached
        assert ends == [now()] == [12.5]

    async def test_a_provider_may_speak_for_itself(self):
        """An error of this library's own is raised as it is."""
        fault = ServiceError("the vault is busy", status=503, retry_after=7.0)
        with pytest.raises(ServiceError) as caught:
            await new_endpoint(Giver(fault)).authorize()

        assert caught.value is fault

    @pytest.mark.parametrize("fault", [KeyError("vault"), RuntimeError("no such role"), LookupError()], ids=repr)
    async def test_a_provider_that_fails_gives_no_token(self, fault):
        """Any other error is final, and its cause is told."""
        with pytest.raises(
            AuthenticationError, match=f"the token provider for {URL} failed: {type(fault).__name__}: "
        ) as caught:
            await new_endpoint(Giver(fault)).authorize()

        assert str(fault) in str(caught.value)
        assert caught.value.__cause__ is fault

    @pytest.mark.parametrize(
        "given", [None, TOKEN.encode(), [TOKEN], {"token": TOKEN}, 7], ids=lambda given: type(given).__name__
    )
    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    async def test_what_is_no_text_is_no_token(self, given, is_async):
        """The type of what was given is told, not the value: that may be the token in another form."""
        endpoint = new_endpoint(Giver(given) if is_async else lambda: given)
        with pytest.raises(AuthenticationError, match=f"gave no text but {type(given).__name__}$") as caught:
            await endpoint.authorize()

        assert TOKEN not in expose(caught.value)

    @pytest.mark.parametrize("text", FLAWED)
    async def test_a_flawed_token_is_none(self, text):
        """A token with line ends would begin another header: it is refused without being repeated."""
        with pytest.raises(
            AuthenticationError, match=f"the token provider for {URL} gave a token that (is|has)"
        ) as caught:
            await new_endpoint(Giver(text)).authorize()

        assert TOKEN not in expose(caught.value)

    async def test_a_cancelled_request_leaves_the_provider_to_the_others(self):
        """Whoever is cancelled while the provider thinks holds nobody up: the next in turn asks."""
        giver = Giver("never-given", TOKEN, takes=10)
        endpoint = new_endpoint(giver)
        first, second = (asyncio.create_task(endpoint.authorize()) for _ in range(2))
        await asyncio.sleep(4)
        first.cancel()

        assert (await second).reveal() == TOKEN
        assert first.cancelled()
        assert giver.calls == [0.0, 4.0]
        assert now() == 14.0

    async def test_those_who_wait_share_a_failure(self):
        """A provider that hangs is waited for once by all, not by one after the other; each has an error of its own."""
        fault = OSError("vault is sealed")
        giver = Giver(fault, TOKEN, takes=5)
        endpoint = new_endpoint(giver)
        errors = await asyncio.gather(*(endpoint.authorize() for _ in range(10)), return_exceptions=True)

        assert now() == 5.0
        assert len({id(error) for error in errors}) == 10
        for error in errors:
            assert type(error) is TransportError
            assert not error.reached
            assert error.__cause__ is fault
        assert (await endpoint.authorize()).reveal() == TOKEN
        assert giver.calls == [0.0, 5.0]

    async def test_an_older_failure_is_not_shared(self):
        """A failure is told to those who waited for it, and not to those whose turn was cut off by a cancellation."""
        giver = Giver(OSError("vault is sealed"), "never-given", TOKEN, takes=10)
        endpoint = new_endpoint(giver)
        with pytest.raises(TransportError):
            await endpoint.authorize()
        second, third = (asyncio.create_task(endpoint.authorize()) for _ in range(2))
        await asyncio.sleep(1)
        second.cancel()

        assert (await third).reveal() == TOKEN
        assert giver.calls == [0.0, 10.0, 11.0]


class TestRenewing:
    """`renew`: what comes after a refusal."""

    async def test_asks_for_another_token(self):
        """A refused token is replaced, and requests from then on take the new one."""
        endpoint = new_endpoint(Giver(TOKEN, OTHER_TOKEN))
        refused = await endpoint.authorize()

        assert await endpoint.renew(refused) is True
        assert (await endpoint.authorize()).reveal() == OTHER_TOKEN

    async def test_asks_once_for_all_that_are_refused_together(self):
        """However many requests are refused with one token, at once or a little later, there is one call."""
        giver = Giver(TOKEN, OTHER_TOKEN, "never-given", takes=2)
        endpoint = new_endpoint(giver)
        refused = await endpoint.authorize()

        assert await asyncio.gather(*(endpoint.renew(refused) for _ in range(20))) == [True] * 20
        assert await endpoint.renew(refused) is True
        assert giver.calls == [0.0, 2.0]
        assert now() == 4.0

    async def test_the_same_token_again_is_none(self):
        """A provider that has only the refused token has none, for all that are refused with it; it is asked once."""
        giver = Giver(TOKEN, takes=2)
        endpoint = new_endpoint(giver)
        refused = await endpoint.authorize()

        assert await asyncio.gather(*(endpoint.renew(refused) for _ in range(20))) == [False] * 20
        assert await endpoint.renew(refused) is False
        assert giver.calls == [0.0, 2.0]

    async def test_a_later_request_asks_again(self):
        """A provider that had nothing new may have it later: it is asked before anything is sent."""
        giver = Giver(TOKEN, TOKEN, OTHER_TOKEN)
        endpoint = new_endpoint(giver)
        assert await endpoint.renew(await endpoint.authorize()) is False
        await asyncio.sleep(60)

        assert (await endpoint.authorize()).reveal() == OTHER_TOKEN
        assert giver.calls == [0.0, 0.0, 60.0]

    async def test_a_given_token_has_no_other(self):
        """Without a provider a refusal is final, and the token is sent again only when somebody asks again."""
        secret = Secret(TOKEN)
        endpoint = new_endpoint(secret)

        assert await endpoint.renew(secret) is False
        assert await endpoint.renew(secret) is False
        assert await endpoint.authorize() is secret

    async def test_a_late_refusal_takes_what_there_is(self):
        """A slow request that was sent with a token of long ago is sent again with the latest."""
        giver = Giver("one", "two", "three", "never-given")
        endpoint = new_endpoint(giver)
        first = await endpoint.authorize()
        await endpoint.renew(first)
        await endpoint.renew(await endpoint.authorize())

        assert await endpoint.renew(first) is True
        assert (await endpoint.authorize()).reveal() == "three"
        assert len(giver.calls) == 3

    async def test_requests_wait_for_a_token_that_is_being_renewed(self):
        """Nobody sends a token of which it is known that it is refused."""
        giver = Giver(TOKEN, OTHER_TOKEN, takes=10)
        endpoint = new_endpoint(giver)
        renewing = asyncio.create_task(endpoint.renew(await endpoint.authorize()))
        await asyncio.sleep(1)

        assert (await endpoint.authorize()).reveal() == OTHER_TOKEN
        assert await renewing is True
        assert giver.calls == [0.0, 10.0]
        assert now() == 20.0

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [(OSError("sealed"), TransportError), (KeyError("vault"), AuthenticationError)],
        ids=["passing", "final"],
    )
    async def test_all_that_are_refused_together_share_a_failure(self, fault: Exception, kind: type[AceTasksError]):
        """Where the provider cannot be reached just now, that is told, and not that there is no other token."""
        giver = Giver(TOKEN, fault, OTHER_TOKEN, takes=5)
        endpoint = new_endpoint(giver)
        refused = await endpoint.authorize()

        async def come_later() -> Secret:
            await asyncio.sleep(1)
            return await endpoint.authorize()

        errors = await asyncio.gather(
            *(endpoint.renew(refused) for _ in range(5)), come_later(), return_exceptions=True
        )

        assert [type(error) for error in errors] == [kind] * 6
        assert giver.calls == [0.0, 5.0]
        assert now() == 10.0

    @pytest.mark.parametrize("ask", ["renew", "authorize"])
    async def test_after_a_failure_the_provider_is_asked_again(self, ask):
        """A failed renewal says nothing about the next, whether that begins with a refusal or with a request."""
        giver = Giver(TOKEN, OSError("sealed"), OTHER_TOKEN)
        endpoint = new_endpoint(giver)
        refused = await endpoint.authorize()
        with pytest.raises(TransportError):
            await endpoint.renew(refused)

        if ask == "renew":
            assert await endpoint.renew(refused) is True
        assert (await endpoint.authorize()).reveal() == OTHER_TOKEN
        assert len(giver.calls) == 3

    async def test_a_cancelled_renewal_is_taken_over(self):
        """Whoever is cancelled while the provider thinks leaves no lock, and no verdict on the token, behind."""
        giver = Giver(TOKEN, "never-given", OTHER_TOKEN, takes=10)
        endpoint = new_endpoint(giver)
        refused = await endpoint.authorize()
        first, second = (asyncio.create_task(endpoint.renew(refused)) for _ in range(2))
        await asyncio.sleep(4)
        first.cancel()

        assert await second is True
        assert first.cancelled()
        assert (await endpoint.authorize()).reveal() == OTHER_TOKEN
        assert giver.calls == [0.0, 10.0, 14.0]

    def test_is_made_before_any_loop_runs(self):
        """A client may be set up outside the event loop: who comes first and who waits is settled in it."""
        giver = Giver("never-given", TOKEN, OTHER_TOKEN, takes=10)
        endpoint = new_endpoint(giver)

        async def use() -> tuple[str, list[bool], str]:
            first, second = (asyncio.create_task(endpoint.authorize()) for _ in range(2))
            await asyncio.sleep(4)
            first.cancel()
            token = await second
            renewals = await asyncio.gather(*(endpoint.renew(token) for _ in range(3)))
            return token.reveal(), renewals, (await endpoint.authorize()).reveal()

        assert run(use()) == (TOKEN, [True] * 3, OTHER_TOKEN)
        assert giver.calls == [0.0, 4.0, 14.0]

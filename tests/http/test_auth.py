"""Endpoint and Secret: safe base URLs, hidden tokens, and renewal."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import pprint
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
import pytest
from http_support import NEW_TOKEN, TOKEN, TokenSequence, expose
from support import now

from acetasks import AceTasksError, AuthenticationError, ServiceError, TransportError
from acetasks._http.auth import Endpoint, Secret, check_base_url
from acetasks.testing import run

if TYPE_CHECKING:
    from acetasks._http.auth import TokenProvider

URL = "https://api.example"

#: Invalid tokens, which no message may repeat.
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


def new_endpoint(token: Secret | TokenProvider | None, **options: object) -> Endpoint:
    """Build an endpoint of a service that gets no requests."""
    return Endpoint(base_url=URL, token=token, token_variable="ACEDATACLOUD_API_TOKEN", **options)


class TestBaseUrls:
    """Valid base URLs, and ones that would expose the token."""

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
    def test_accepts_https_and_this_machine(self, url):
        """TLS protects the token anywhere, and connections to this machine do not need it."""
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
    def test_http_to_another_machine_needs_allow_insecure(self, url):
        """Without TLS the token could be intercepted, so the user has to allow it."""
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
    @pytest.mark.parametrize("allow_insecure", [False, True], ids=["secure", "insecure"])
    def test_refuses_invalid_base_urls(self, url, allow_insecure):
        """The error has the value and an example, whatever else is allowed."""
        with pytest.raises(ValueError, match=r"base URL must be like 'https://api\.acedata\.cloud'") as caught:
            new_endpoint_at(url, allow_insecure=allow_insecure)

        assert repr(url) in str(caught.value)

    @pytest.mark.parametrize("url", ["https://[::1", "https://[sesame]", "https://a\u2100b.example"])
    def test_refuses_unparsable_urls(self, url):
        """A text that the standard library refuses to parse as a URL is refused."""
        with pytest.raises(ValueError, match=r"."):
            new_endpoint_at(url)

    @pytest.mark.parametrize("user", ["user:hunter2", "user", ":hunter2", ""])
    @pytest.mark.parametrize("host", ["api.acedata.cloud", "localhost:1", "api.acedata.cloud:99999"])
    def test_refuses_credentials_without_repeating_them(self, user, host):
        """Credentials in a URL end up in logs, and aiohttp would send them instead of the token."""
        with pytest.raises(ValueError, match="contains a user name or password") as caught:
            new_endpoint_at(f"https://{user}@{host}", allow_insecure=True)

        assert "hunter2" not in str(caught.value)
        assert host.partition(":")[0] in str(caught.value)


def new_endpoint_at(url: str, **options: bool) -> Endpoint:
    """Build an endpoint with a base URL and without a token."""
    return Endpoint(base_url=url, token=None, token_variable="X", **options)


class TestSecrets:
    """A hidden token."""

    def test_reveals_its_text(self):
        """`reveal` returns the text."""
        assert Secret(TOKEN).reveal() == TOKEN

    @pytest.mark.parametrize(
        "show", [repr, str, "{}".format, "{!r:>20}".format, ascii, pprint.pformat, lambda secret: repr([{"a": secret}])]
    )
    def test_is_hidden_from_printing(self, show):
        """Every kind of formatting hides the text."""
        assert "Secret(...)" in show(Secret(TOKEN))
        assert TOKEN not in show(Secret(TOKEN))

    @pytest.mark.parametrize(
        "write", [vars, pickle.dumps, copy.copy, copy.deepcopy, json.dumps, msgspec.json.encode, msgspec.to_builtins]
    )
    def test_secret_is_not_serialised(self, write):
        """Serialising and copying fail, without showing the text."""
        with pytest.raises(TypeError) as caught:
            write(Secret(TOKEN))

        assert TOKEN not in expose(caught.value)

    @pytest.mark.parametrize(
        "escape",
        [
            str,
            json.dumps,
            lambda text: json.dumps(json.dumps(json.dumps(text))),
            lambda text: text.replace("/", "\\/"),
            lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
            lambda text: "".join(f"\\\\u{ord(char):04X}" for char in text),
            lambda text: quote(text, safe=""),
            lambda text: quote(quote(text, safe=""), safe=""),
            lambda text: quote(text, safe="").replace("%2F", "%2f"),
        ],
    )
    @pytest.mark.parametrize("text", [TOKEN, "user:1234-a.b", 'a/b+c=="d\\e', "^$.*[]()|?"])
    def test_is_masked_in_any_escape(self, escape, text):
        """A received text that repeats it does not show it; the rest of the text stays."""
        masked = Secret(text).mask(f"<a> {escape(text)} and {escape(text)} <b>")

        assert masked.replace('"', "").replace("\\", "") == "<a> [masked] and [masked] <b>"

    def test_masks_a_header_value_without_its_scheme(self):
        """`Basic` remains, and the credentials are masked without it too."""
        secret = Secret("Basic dXNlcjpwYXNz")

        assert secret.mask("Basic dXNlcjpwYXNz, x=dXNlcjpwYXNz") == "Basic [masked], x=[masked]"

    def test_masks_no_other_text(self):
        """Neither a part of it, nor a secret so short that it may be there by chance."""
        assert Secret(TOKEN).mask(TOKEN[:-1]) == TOKEN[:-1]
        assert Secret("t").mask("a test") == "a test"

    def test_is_equal_to_itself_only(self):
        """A comparison does not confirm a guess."""
        secret = Secret(TOKEN)

        assert secret == secret  # noqa: PLR0124  # that is the point
        assert secret != Secret(TOKEN)
        assert secret != TOKEN

    @pytest.mark.parametrize("text", FLAWED)
    def test_finds_flaws(self, text):
        """A text that could begin another header, or is not allowed in one, is not a token."""
        flaw = Secret(text).find_flaw()

        assert flaw == ("contains whitespace, control or non-ASCII characters" if text else "is empty")

    @pytest.mark.parametrize("text", [TOKEN, "a.b-c_d~e+f/g==", "platform-v1-1234", '!#$%&"+'])
    def test_accepts_visible_ascii(self, text):
        """Every visible ASCII character may be in a token."""
        assert Secret(text).find_flaw() is None


class TestEndpoints:
    """The representation of an endpoint."""

    @pytest.mark.parametrize(
        ("token", "shown"), [(Secret(TOKEN), "given"), (lambda: TOKEN, "from a provider"), (None, "none")]
    )
    def test_repr_hides_the_token(self, token, shown):
        """The repr has the base URL and the source of the token."""
        assert repr(new_endpoint(token)) == f"<Endpoint https://api.example token={shown}>"

    async def test_repr_hides_provided_tokens(self):
        """A token from a provider is hidden too."""
        endpoint = new_endpoint(lambda: TOKEN)
        await endpoint.authorize()

        assert repr(endpoint) == "<Endpoint https://api.example token=from a provider>"

    @pytest.mark.parametrize(
        "write", [vars, pickle.dumps, copy.copy, copy.deepcopy, msgspec.json.encode, msgspec.to_builtins]
    )
    def test_endpoint_is_not_serialised(self, write):
        """Serialising and copying fail, without showing the token."""
        with pytest.raises(TypeError) as caught:
            write(new_endpoint(Secret(TOKEN)))

        assert TOKEN not in expose(caught.value)

    @pytest.mark.parametrize("text", FLAWED)
    def test_refuses_flawed_tokens(self, text):
        """The error names the host of the service and does not repeat the token."""
        with pytest.raises(ValueError, match=r"the token for api\.example (is empty|contains whitespace)") as caught:
            new_endpoint(Secret(text))

        assert TOKEN not in expose(caught.value)


class TestPlaceholders:
    """Texts in place of a token: refused before a request is sent, with a hint and without repeating them."""

    @pytest.mark.parametrize(
        ("text", "hint"),
        [
            (f'"{TOKEN}"', "has quotes around it.*env-file.*remove the quotes"),
            (f"'{TOKEN}'", "has quotes around it"),
            (f"`{TOKEN}`", "has quotes around it"),
            (f'"{TOKEN}', "has quotes around it"),
            (f"{TOKEN}'", "has quotes around it"),
            ("$SESAME_TOKEN", "is the name of a variable that was not expanded.*set the value itself"),
            ("${SESAME_TOKEN}", "is the name of a variable"),
            ("${SESAME_TOKEN:-none}", "is the name of a variable"),
            ("Bearer-${SESAME_TOKEN}", "is the name of a variable"),
            ("$(cat sesame)", "is the name of a variable"),
            ("${{ secrets.SESAME }}", "is the name of a variable"),
            ("%SESAME_TOKEN%", "is the name of a variable"),
            ("<your-sesame>", "is a placeholder.*replace it with a token"),
            ("<your sesame token>", "is a placeholder"),
            ("{sesame}", "is a placeholder"),
            ("{{ sesame }}", "is a placeholder"),
        ],
    )
    async def test_placeholder_is_refused_with_a_hint(self, text, hint):
        """The hint has the kind, the usual origin and the remedy, for a token given, provided or from a variable."""
        with pytest.raises(ValueError, match=rf"the token for api\.example {hint}") as given:
            new_endpoint(Secret(text))
        with pytest.raises(AuthenticationError, match=f"returned a token that {hint}") as provided:
            await new_endpoint(lambda: text).authorize()

        for error in (given.value, provided.value):
            assert "sesame" not in str(error).lower()
            assert text not in expose(error)

    @pytest.mark.parametrize("text", ["a$b", "$", "a%b%c", "a<b>c", "a'b", 'a"b', "{", "a}"])
    def test_token_with_such_a_character_is_accepted(self, text):
        """A single character of that kind inside a token makes it no placeholder."""
        assert Secret(text).find_flaw() is None


class TestAuthorizing:
    """`check` and `authorize`: the token of a request."""

    async def test_returns_a_fixed_token(self):
        """A fixed token is used unchanged."""
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
    async def test_error_says_where_to_get_a_token(self, variable, page):
        """Without a token the error names the environment variable and the web page."""
        endpoint = Endpoint(base_url=URL, token=None, token_variable=variable)

        with pytest.raises(AuthenticationError, match=f"no token for {URL}.* set {variable}; get one at {page}$"):
            endpoint.check()
        with pytest.raises(AuthenticationError, match=f"no token for {URL}.* set {variable}; get one at {page}$"):
            await endpoint.authorize()

    @pytest.mark.parametrize("kind", ["function", "coroutine function", "object", "future"])
    async def test_accepts_any_kind_of_provider(self, kind):
        """A provider is a callable that returns the token or an awaitable of it."""

        async def give() -> str:
            await asyncio.sleep(1)
            return TOKEN

        def give_later() -> asyncio.Future[str]:
            return asyncio.ensure_future(give())

        provider: dict[str, TokenProvider] = {
            "function": lambda: TOKEN,
            "coroutine function": give,
            "object": TokenSequence(TOKEN),
            "future": give_later,
        }
        endpoint = new_endpoint(provider[kind])
        endpoint.check()

        assert (await endpoint.authorize()).reveal() == TOKEN

    async def test_concurrent_requests_take_one_call(self):
        """The provider is called once for the first token, which is kept."""
        provider = TokenSequence(TOKEN, NEW_TOKEN, seconds=3)
        endpoint = new_endpoint(provider)
        secrets = await asyncio.gather(*(endpoint.authorize() for _ in range(10)))
        await asyncio.sleep(10_000)

        assert {*secrets, await endpoint.authorize()} == {secrets[0]}
        assert secrets[0].reveal() == TOKEN
        assert provider.calls == [0.0]

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
    async def test_unreachable_provider_is_transient(self, fault, reason):
        """An OSError is transient, nothing was sent, and the next request calls the provider again."""
        endpoint = new_endpoint(TokenSequence(fault, TOKEN))
        with pytest.raises(
            TransportError, match=f"^the token provider for {URL} could not be reached: {reason}$"
        ) as caught:
            await endpoint.authorize()

        assert not caught.value.reached
        assert caught.value.transient
        assert caught.value.__cause__ is fault
        assert (await endpoint.authorize()).reveal() == TOKEN

    async def test_hanging_provider_is_cancelled(self):
        """The provider is cancelled at the timeout."""
        ends = []

        async def hang() -> str:
            try:
                await asyncio.sleep(10_000)
            finally:
                ends.append(now())
            return TOKEN

        with pytest.raises(TransportError, match="could not be reached: TimeoutError") as caught:
            await new_endpoint(hang, timeout=12.5).authorize()

        assert not caught.value.reached
        assert ends == [now()] == [12.5]

    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    async def test_provider_that_is_cancelled_by_other_code_is_transient(self, is_async):
        """A CancelledError is the provider's own failure unless the request is being cancelled."""
        refresh = asyncio.get_running_loop().create_future()
        refresh.cancel()
        tokens = [refresh, None]

        async def await_refresh() -> str:
            return TOKEN if (token := tokens.pop(0)) is None else await token

        def read_refresh() -> str:
            return TOKEN if (token := tokens.pop(0)) is None else token.result()

        endpoint = new_endpoint(await_refresh if is_async else read_refresh)
        with pytest.raises(
            TransportError, match=f"^the token provider for {URL} was cancelled by other code$"
        ) as caught:
            await endpoint.authorize()

        assert not caught.value.reached
        assert (await endpoint.authorize()).reveal() == TOKEN

    async def test_provider_may_raise_errors_of_this_library(self):
        """They are raised unchanged."""
        fault = ServiceError("the vault is busy", status=503, retry_after=7.0)
        with pytest.raises(ServiceError) as caught:
            await new_endpoint(TokenSequence(fault)).authorize()

        assert caught.value is fault

    @pytest.mark.parametrize("fault", [KeyError("vault"), RuntimeError("no such role"), LookupError()], ids=repr)
    async def test_other_provider_errors_are_final(self, fault):
        """Any other error is final, with its cause."""
        with pytest.raises(
            AuthenticationError, match=f"the token provider for {URL} failed: {type(fault).__name__}: "
        ) as caught:
            await new_endpoint(TokenSequence(fault)).authorize()

        assert str(fault) in str(caught.value)
        assert caught.value.__cause__ is fault

    @pytest.mark.parametrize(
        "returned", [None, TOKEN.encode(), [TOKEN], {"token": TOKEN}, 7], ids=lambda returned: type(returned).__name__
    )
    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    async def test_refuses_other_types(self, returned, is_async):
        """The error has the type and not the value, which may be the token in another form."""
        endpoint = new_endpoint(TokenSequence(returned) if is_async else lambda: returned)
        with pytest.raises(AuthenticationError, match=f"must return a str, got {type(returned).__name__}$") as caught:
            await endpoint.authorize()

        assert TOKEN not in expose(caught.value)

    @pytest.mark.parametrize("text", FLAWED)
    async def test_refuses_flawed_tokens_from_a_provider(self, text):
        """A token with line breaks would begin another header; it is not repeated."""
        with pytest.raises(
            AuthenticationError, match=f"the token provider for {URL} returned a token that (is|contains)"
        ) as caught:
            await new_endpoint(TokenSequence(text)).authorize()

        assert TOKEN not in expose(caught.value)

    async def test_cancelled_request_does_not_block_others(self):
        """If a request is cancelled during the call, the next one calls the provider."""
        provider = TokenSequence("never-given", TOKEN, seconds=10)
        endpoint = new_endpoint(provider)
        first, second = (asyncio.create_task(endpoint.authorize()) for _ in range(2))
        await asyncio.sleep(4)
        first.cancel()

        assert (await second).reveal() == TOKEN
        assert first.cancelled()
        assert provider.calls == [0.0, 4.0]
        assert now() == 14.0

    async def test_concurrent_requests_share_a_failure(self):
        """A hanging provider is called once for all, and each request has its own error."""
        fault = OSError("vault is sealed")
        provider = TokenSequence(fault, TOKEN, seconds=5)
        endpoint = new_endpoint(provider)
        errors = await asyncio.gather(*(endpoint.authorize() for _ in range(10)), return_exceptions=True)

        assert now() == 5.0
        assert len({id(error) for error in errors}) == 10
        for error in errors:
            assert type(error) is TransportError
            assert not error.reached
            assert error.__cause__ is fault
        assert (await endpoint.authorize()).reveal() == TOKEN
        assert provider.calls == [0.0, 5.0]

    async def test_earlier_failure_is_not_shared(self):
        """A failure is shared with requests that waited for it, not with later ones."""
        provider = TokenSequence(OSError("vault is sealed"), "never-given", TOKEN, seconds=10)
        endpoint = new_endpoint(provider)
        with pytest.raises(TransportError):
            await endpoint.authorize()
        second, third = (asyncio.create_task(endpoint.authorize()) for _ in range(2))
        await asyncio.sleep(1)
        second.cancel()

        assert (await third).reveal() == TOKEN
        assert provider.calls == [0.0, 10.0, 11.0]


class TestRenewal:
    """`renew`: the token after a refusal."""

    async def test_replaces_a_refused_token(self):
        """Later requests use the new token."""
        endpoint = new_endpoint(TokenSequence(TOKEN, NEW_TOKEN))
        refused = await endpoint.authorize()

        assert await endpoint.renew(refused) is True
        assert (await endpoint.authorize()).reveal() == NEW_TOKEN

    async def test_concurrent_refusals_take_one_call(self):
        """All requests refused with one token, now or a little later, take one call."""
        provider = TokenSequence(TOKEN, NEW_TOKEN, "never-given", seconds=2)
        endpoint = new_endpoint(provider)
        refused = await endpoint.authorize()

        assert await asyncio.gather(*(endpoint.renew(refused) for _ in range(20))) == [True] * 20
        assert await endpoint.renew(refused) is True
        assert provider.calls == [0.0, 2.0]
        assert now() == 4.0

    async def test_same_token_again_is_no_renewal(self):
        """If the provider returns the refused token, no request is renewed, and there is one call."""
        provider = TokenSequence(TOKEN, seconds=2)
        endpoint = new_endpoint(provider)
        refused = await endpoint.authorize()

        assert await asyncio.gather(*(endpoint.renew(refused) for _ in range(20))) == [False] * 20
        assert await endpoint.renew(refused) is False
        assert provider.calls == [0.0, 2.0]

    async def test_later_request_calls_the_provider_again(self):
        """A provider without a new token is called again before the next request."""
        provider = TokenSequence(TOKEN, TOKEN, NEW_TOKEN)
        endpoint = new_endpoint(provider)
        assert await endpoint.renew(await endpoint.authorize()) is False
        await asyncio.sleep(60)

        assert (await endpoint.authorize()).reveal() == NEW_TOKEN
        assert provider.calls == [0.0, 0.0, 60.0]

    async def test_fixed_token_is_not_renewed(self):
        """Without a provider a refusal is final, and the token stays in use."""
        secret = Secret(TOKEN)
        endpoint = new_endpoint(secret)

        assert await endpoint.renew(secret) is False
        assert await endpoint.renew(secret) is False
        assert await endpoint.authorize() is secret

    async def test_late_refusal_uses_the_current_token(self):
        """A request that was sent with an old token uses the latest."""
        provider = TokenSequence("one", "two", "three", "never-given")
        endpoint = new_endpoint(provider)
        first = await endpoint.authorize()
        await endpoint.renew(first)
        await endpoint.renew(await endpoint.authorize())

        assert await endpoint.renew(first) is True
        assert (await endpoint.authorize()).reveal() == "three"
        assert len(provider.calls) == 3

    async def test_requests_wait_for_a_renewal(self):
        """A token that is known to be refused is not used."""
        provider = TokenSequence(TOKEN, NEW_TOKEN, seconds=10)
        endpoint = new_endpoint(provider)
        renewing = asyncio.create_task(endpoint.renew(await endpoint.authorize()))
        await asyncio.sleep(1)

        assert (await endpoint.authorize()).reveal() == NEW_TOKEN
        assert await renewing is True
        assert provider.calls == [0.0, 10.0]
        assert now() == 20.0

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [(OSError("sealed"), TransportError), (KeyError("vault"), AuthenticationError)],
        ids=["passing", "final"],
    )
    async def test_concurrent_refusals_share_a_failure(self, fault: Exception, kind: type[AceTasksError]):
        """If the provider is unreachable, that error is raised instead of the refusal."""
        provider = TokenSequence(TOKEN, fault, NEW_TOKEN, seconds=5)
        endpoint = new_endpoint(provider)
        refused = await endpoint.authorize()

        async def come_later() -> Secret:
            await asyncio.sleep(1)
            return await endpoint.authorize()

        errors = await asyncio.gather(
            *(endpoint.renew(refused) for _ in range(5)), come_later(), return_exceptions=True
        )

        assert [type(error) for error in errors] == [kind] * 6
        assert provider.calls == [0.0, 5.0]
        assert now() == 10.0

    @pytest.mark.parametrize("ask", ["renew", "authorize"])
    async def test_provider_is_called_again_after_a_failure(self, ask):
        """After a failed renewal the next one, or the next request, calls the provider."""
        provider = TokenSequence(TOKEN, OSError("sealed"), NEW_TOKEN)
        endpoint = new_endpoint(provider)
        refused = await endpoint.authorize()
        with pytest.raises(TransportError):
            await endpoint.renew(refused)

        if ask == "renew":
            assert await endpoint.renew(refused) is True
        assert (await endpoint.authorize()).reveal() == NEW_TOKEN
        assert len(provider.calls) == 3

    async def test_cancelled_renewal_passes_to_the_next(self):
        """A cancelled renewal leaves no lock and no decision about the token."""
        provider = TokenSequence(TOKEN, "never-given", NEW_TOKEN, seconds=10)
        endpoint = new_endpoint(provider)
        refused = await endpoint.authorize()
        first, second = (asyncio.create_task(endpoint.renew(refused)) for _ in range(2))
        await asyncio.sleep(4)
        first.cancel()

        assert await second is True
        assert first.cancelled()
        assert (await endpoint.authorize()).reveal() == NEW_TOKEN
        assert provider.calls == [0.0, 10.0, 14.0]

    def test_works_if_created_outside_the_event_loop(self):
        """A client may be created before the event loop runs."""
        provider = TokenSequence("never-given", TOKEN, NEW_TOKEN, seconds=10)
        endpoint = new_endpoint(provider)

        async def use() -> tuple[str, list[bool], str]:
            first, second = (asyncio.create_task(endpoint.authorize()) for _ in range(2))
            await asyncio.sleep(4)
            first.cancel()
            token = await second
            renewals = await asyncio.gather(*(endpoint.renew(token) for _ in range(3)))
            return token.reveal(), renewals, (await endpoint.authorize()).reveal()

        assert run(use()) == (TOKEN, [True] * 3, NEW_TOKEN)
        assert provider.calls == [0.0, 4.0, 14.0]

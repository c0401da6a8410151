"""The family of logins: sessions, the user's own tokens, users. Routes and nothing else."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from .records import Document, Token
from .web import COOKIE, Call, Need, Refused, Route, done, told

PREFIX = 8  # characters of a token that newer servers show in lists
NEW_USER: Final = {"username": str, "name": str, "email": str, "password": str, "admin": bool, "alert": bool}


def methods(call: Call) -> Response:
    """How one may log in."""
    shown: Document = {"oidc_providers": [], "login_with_password": True}
    return told(shown | {"auth_methods": {}} if call.version.modern else shown)


def login(call: Call) -> Response:
    """A session for a name or an e-mail address and a password."""
    asked = call.decode({"auth": str, "password": str})
    user = call.world.login(asked.get("auth", ""), asked.get("password", ""))
    if user is None:
        raise Refused(401)
    answer = done()
    answer.headers["Set-Cookie"] = _cookie(call, call.world.open_session(user))
    return answer


def logout(call: Call) -> Response:
    """Forget the cookie; up to 2.15 the session itself stays valid."""
    if call.version.modern:
        call.world.sessions.pop(call.connection.cookies.get(COOKIE, ""), None)
    answer = done()
    answer.headers["Set-Cookie"] = _cookie(call, "", "; Expires=Sun, 15 Nov 2026 03:30:39 GMT")
    return answer


def _cookie(call: Call, value: str, more: str = "") -> str:
    return f"{COOKIE}={value}; Path=/{more}" + ("; HttpOnly" if call.version.modern else "")


def me(call: Call) -> Response:
    """The user who asks."""
    shown = call.user.document()
    if call.version.modern:
        shown |= {"pro": False, "has_active_subscription": False}
    return told(shown | {"can_create_project": call.user.admin})


def tokens(call: Call) -> Response:
    """The tokens of the user who asks."""
    mine = [token for token in call.world.tokens.values() if token.user_id == call.user.id]
    return told([_token(call, token, listed=True) for token in mine])


def make_token(call: Call) -> Response:
    """A new token; nothing in the body matters."""
    return told(_token(call, call.world.make_token(call.user), listed=False), 201)


def drop_token(call: Call) -> Response:
    """Mark a token as expired (BoltDB), or delete it (SQL, which does not mind an unknown one)."""
    token = call.world.tokens.get(call.words["token"])
    if call.version.modern:
        call.world.tokens.pop(call.words["token"], None)
    elif token is None:
        raise Refused(404)
    else:
        token.expired = True
    return done()


def _token(call: Call, token: Token, *, listed: bool) -> Document:
    text = token.text[:PREFIX] if listed and call.version.modern else token.text
    return {"id": text, "created": token.created, "expired": token.expired, "user_id": token.user_id}


def users(call: Call) -> Response:
    """Every user; only an admin sees more than names."""
    everyone = [user.document() for user in call.world.users.values()]
    if not call.user.admin:
        everyone = [{name: user[name] for name in ("id", "username", "name")} for user in everyone]
    return told(everyone)


def make_user(call: Call) -> Response:
    """A new user, by an admin (anyone else: 401)."""
    if not call.user.admin:
        raise Refused(401)
    asked = call.decode(NEW_USER)
    if not all(asked.get(name) for name in ("username", "name", "email")):
        raise Refused(400)
    taken = {user.username for user in call.world.users.values()}
    if asked["username"] in taken:
        raise Refused(400)
    user = call.world.add_user(
        asked["username"],
        asked["name"],
        asked["email"],
        asked.get("password", ""),
        admin=asked.get("admin", False),
    )
    return told(user.document(), 201)


def set_password(call: Call) -> Response:
    """A new password for a user, by an admin (anyone else: 401)."""
    if not call.user.admin:
        raise Refused(401)
    user = call.world.users.get(call.ids["user_id"])
    if user is None:
        raise Refused(404)
    user.password = call.decode({"password": str}).get("password", "")
    return done()


ROUTES: Final = [
    Route("GET", "/auth/login", methods, Need.NOTHING),
    Route("POST", "/auth/login", login, Need.NOTHING),
    Route("POST", "/auth/logout", logout, Need.NOTHING),
    Route("GET", "/user", me, Need.USER),
    Route("GET", "/user/tokens", tokens, Need.USER),
    Route("POST", "/user/tokens", make_token, Need.USER),
    Route("DELETE", "/user/tokens/{token:word}", drop_token, Need.USER),
    Route("GET", "/users", users, Need.USER),
    Route("POST", "/users", make_user, Need.USER),
    Route("POST", "/users/{user_id}/password", set_password, Need.USER),
]

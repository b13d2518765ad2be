"""smtp.py: a real mail server (aiosmtpd) for tests. Prints its port, then writes each mail as a JSON line to a file.

Arguments: FILE [--cert PEM --key PEM] [--smtps] [--no-auth]. AUTH as user/secret is asked for where there is TLS, and not
offered at all with --no-auth. Mail to refused@... is refused with 550, to later@... put off with 451.
"""
import argparse, asyncio, json, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult


class Handler:
    def __init__(self, file, smtps):
        self.file = file
        self.smtps = smtps

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused@"):
            return "550 no such mailbox"
        if address.startswith("later@"):
            return "451 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "data": envelope.content.decode(),
            "tls": self.smtps or session.ssl is not None,
            "user": session.auth_data.login.decode() if session.auth_data else None,
        }
        with open(self.file, "a") as out:
            out.write(json.dumps(mail) + "\n")
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=data.login == b"user" and data.password == b"secret", handled=False, auth_data=data)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--smtps", action="store_true")
    parser.add_argument("--no-auth", action="store_true")
    arguments = parser.parse_args()
    context = None
    if arguments.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(arguments.cert, arguments.key)

    def session():
        return SMTP(
            Handler(arguments.file, arguments.smtps),
            tls_context=None if arguments.smtps else context,
            require_starttls=bool(context) and not arguments.smtps,
            authenticator=authenticate,
            auth_required=bool(context),
            auth_require_tls=not arguments.smtps,
            auth_exclude_mechanism=["LOGIN", "PLAIN"] if arguments.no_auth else None,
            enable_SMTPUTF8=True,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(session, "127.0.0.1", 0, ssl=context if arguments.smtps else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    # Ends with the process that started it.
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())

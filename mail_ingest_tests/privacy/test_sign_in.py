"""Mail that opens doors: codes and resets are recognised in many languages, what people write about them is not."""

from __future__ import annotations

import pytest

from mail_ingest.mime import parse
from mail_ingest.privacy import sign_in_reason
from mail_ingest_tests.mime.public_mail import needs_public_mail, real_messages

CODE, RESET = "sign-in code", "password reset"


@pytest.mark.parametrize(
    ("subject", "text", "reason"),
    [
        ("Your verification code", "493027", CODE),
        ("493027 is your Example code", "Enter it within 10 minutes.", CODE),
        ("Sign in to Example", "Your one-time code is 493 027. Do not share it.", CODE),
        ("Ihr Bestätigungscode", "Der Code lautet 493027.", CODE),
        ("Votre code de vérification", "Saisissez 493027.", CODE),
        ("Tu código de verificación es 493027", "", CODE),
        ("Il tuo codice di verifica", "493027", CODE),
        ("Seu código de acesso", "Seu código de acesso: 493027", CODE),
        ("Je verificatiecode", "493027", CODE),
        ("Twój kod weryfikacyjny", "493027", CODE),
        ("Din engångskod", "493027", CODE),
        ("Ваш код подтверждения", "493027", CODE),
        ("Giriş kodunuz", "Giriş kodunuz 493027", CODE),
        ("验证码", "您的验证码是 493027", CODE),
        ("ログイン", "認証コード：493027", CODE),
        ("[Example] 인증번호 안내", "493027", CODE),
        ("Your magic link", "https://example.com/in", CODE),
        ("Reset your password", "https://example.com/reset", RESET),
        ("Example: password reset request", "", RESET),
        ("We received a request", "Click here to reset your password: https://example.com/r", RESET),
        ("Passwort zurücksetzen", "", RESET),
        ("Setzen Sie Ihr Passwort bei Example zurück: Passwort vergessen?", "", RESET),
        ("Réinitialisez votre mot de passe", "", RESET),
        ("Restablecer tu contraseña", "", RESET),
        ("Reimposta la tua password", "", RESET),
        ("Redefina sua senha: redefinir senha", "", RESET),
        ("Herstel je wachtwoord", "", RESET),
        ("Återställ ditt lösenord", "", RESET),
        ("Восстановление пароля", "", RESET),
        ("重置密码", "", RESET),
        ("パスワード再設定のお知らせ", "", RESET),
        ("비밀번호 재설정", "", RESET),
    ],
)
def test_codes_and_resets_are_recognised(subject: str, text: str, reason: str) -> None:
    assert sign_in_reason(subject=subject, text=text) == reason


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("Lunch on Friday?", "I forgot my password for the wiki, can you help? See https://wiki.example"),
        ("Re: Reset your password", "Did you get this as well?"),
        ("AW: Ihr Bestätigungscode", "Kam bei mir nicht an."),
        ("Security review of the login code", "Please read the pull request, 1234 lines of code changed."),
        ("Your order 493027 has shipped", "Tracking code 49302711"),
        ("Area code change", "From May on the area code is 0415."),
        ("Promo code inside", "Use code SAVE2026 for 20 % off"),
        ("Build failed with exit code 1", "See the log 493027"),
        ("New device signed in", "If this was you, there is nothing to do."),
    ],
)
def test_what_only_speaks_of_them_stays(subject: str, text: str) -> None:
    assert sign_in_reason(subject=subject, text=text) is None


def test_lists_and_replies_are_never_left_out() -> None:
    assert sign_in_reason(subject="Your verification code", text="493027", is_list=True) is None
    assert sign_in_reason(subject="Your verification code", text="493027", is_reply=True) is None


def test_long_mail_about_passwords_stays() -> None:
    text = "How to reset your password: https://example.com\n" + "A long article. " * 300

    assert sign_in_reason(subject="Monthly security news", text=text) is None


@needs_public_mail
def test_real_mail_is_hardly_ever_taken_for_it(record_property) -> None:
    left_out, count = [], 0
    bare = 0
    for name, raw in list(real_messages())[::2]:
        message = parse(raw)
        count += 1
        reason = sign_in_reason(
            subject=message.subject,
            text=message.text,
            is_list=bool(message.list_id) or (message.precedence or "").lower() in ("list", "bulk", "junk"),
            is_reply=bool(message.in_reply_to),
        )
        if reason is not None:
            left_out.append(name)
        # as if nothing were known of lists and replies
        bare += sign_in_reason(subject=message.subject, text=message.text) is not None

    record_property(
        "figure", f"sign-in mail: {len(left_out)} of {count} real messages taken for it, {bare} by their words alone"
    )
    assert left_out == []
    assert bare <= 10

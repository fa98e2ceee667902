"""Mail that opens doors: sign-in codes, links that sign in, and resets of passwords.

Such mail is short, sent by a machine to one person, and says what it is in its subject or its first lines. What people
write about these things (replies, forwarded mail, lists, newsletters) is theirs, and is not meant.
"""

from __future__ import annotations

import re

SIGN_IN, PASSWORD_RESET = "sign-in code", "password reset"
REASONS = (SIGN_IN, PASSWORD_RESET)
"""What `sign_in_reason` gives, as `gmail.left_out_messages` has it."""

_LOOKED_AT = 3_000
_LONGEST_TEXT = 12_000
_REPLY = re.compile(
    r"\s*(?:re|fwd?|aw|wg|sv|vs|tr|rv|antw|odp|ynt|ref|enc|i|回复|答复|转发)\s*(?:\[\d+\])?\s*[:：]", re.IGNORECASE
)

#: In subjects, and in the first lines where a code follows.
_CODES = re.compile(
    r"""
    \b(?:verification|security|confirmation|login|log-?in|sign-?\s?in|access|authenti\w+|authori[sz]ation|one[\s-]?time
        |single-?use|2fa|two-?factor|two-?step|activation|device)\s+(?:pass)?codes?\b
  | \bone[\s-]?time\s+(?:password|pin|passcode|link)\b | \b(?:otp|passcode)\b
  | \b(?:sign|log)[\s-]?in\s+(?:link|to\s+\S+\s+with\s+this)\b | \bmagic\s+link\b
  | \byour\s+(?:\S+\s+){0,3}(?:code|pin)\s+(?:is|:)
  | ^\s*\W*\d{4,8}\b.{0,40}\bcode\b
  | \b(?:bestätigungs|sicherheits|verifizierungs|anmelde|zugangs|einmal|freischalt|aktivierungs|login-?)code\b
  | \beinmal(?:kennwort|passwort)\b | \banmeldelink\b
  | \bcodes?\s+(?:de\s+|d['’]\s?)(?:vérification|sécurité|confirmation|connexion|accès|authentification|activation)
  | \bcode\s+à\s+usage\s+unique\b | \bmot\s+de\s+passe\s+à\s+usage\s+unique\b
  | \bcódigo\s+(?:de\s+)?(?:verificación|seguridad|confirmación|acceso|inicio\s+de\s+sesión|un\s+solo\s+uso|verificação|segurança
        |confirmação|acesso|autenticação)
  | \bcodice\s+(?:di\s+)?(?:verifica|sicurezza|conferma|accesso|attivazione|monouso)
  | \b(?:verificatie|beveiligings|bevestigings|inlog|toegangs)code\b
  | \bkod\w*\s+(?:weryfikacyjny|weryfikacji|bezpieczeństwa|jednorazowy)\b
  | \b(?:verifierings|säkerhets|engångs|bekræftelses|sikkerheds|bekreftelses|sikkerhets|engangs)kode?n?\b
  | \b(?:vahvistus|turva|kerta)koodi\w*\b | \bověřovací\s+kód\b | \b(?:doğrulama|güvenlik|giriş|onay)\s+kodu\w*\b
  | \bкод\w*\s+(?:подтверждения|доступа|безопасности|входа) | \bпроверочный\s+код\b | \bодноразовый\s+(?:код|пароль)
  | \bкод\s+підтвердження\b | κωδικ\w+\s+(?:επαλήθευσης|επιβεβαίωσης|ασφαλείας)
  | 验证码 | 校验码 | 动态码 | 驗證碼 | 認証コード | 確認コード | ワンタイムパスワード | 인증\s?번호 | 인증\s?코드 | 보안\s?코드
    """,
    re.IGNORECASE | re.VERBOSE,
)
_RESETS = re.compile(
    r"""
    \b(?:reset|change|recover|restore|forgot(?:ten)?)\s+(?:of\s+)?(?:your\s+|my\s+|the\s+)?(?:\S+\s+){0,2}pass(?:word|code|phrase)\b
  | \bpassword\s+(?:reset|recovery|assistance|reminder|change\s+request) | \baccount\s+recovery\b
  | \b(?:passwort|kennwort)s?\b.{0,30}\b(?:zurücksetzen|zurückgesetzt|vergessen|ändern)
  | \bpasswort-?(?:zurücksetzung|reset|wiederherstellung)
  | \b(?:zurücksetz\w+|wiederherstell\w+)\s+(?:ihres|deines|des)\s+(?:passwort|kennwort)
  | \b(?:réinitialis\w+|oubli\w*|récupér\w+|changement)\b.{0,30}\bmot\s+de\s+passe | \bmot\s+de\s+passe\s+oublié
  | \b(?:restable\w+|recuper\w+|cambi\w+|olvid\w+|redefin\w+|reset\w*|reimpost\w+|ripristin\w+|esqueceu)\b.{0,30}
        \b(?:contraseña|clave|senha|password|palavra-passe)
  | \bwachtwoord\b.{0,30}\b(?:opnieuw|herstel\w*|vergeten|resetten|wijzigen) | \b(?:herstel|reset)\s+(?:je|uw|jouw)\s+wachtwoord
  | \b(?:reset\w*|zmian\w+|odzysk\w+|przypomn\w+)\b.{0,20}\bhas[łl]a? | \b(?:återställ\w*|glömt)\b.{0,20}\blösenord
  | \b(?:nulstil|tilbakestill|nullstill|glemt)\w*\b.{0,20}\b(?:adgangskode|passord)\w*
  | \bsalasana\w*\b.{0,20}\b(?:vaihto|palau\w+|unoh\w+)
  | \b(?:obnov\w+|změn\w+|zapomen\w+)\b.{0,20}\bhesla? | \bşifre\w*\b.{0,20}\b(?:sıfırla\w*|yenile\w*|unut\w*)
  | \b(?:восстановлени\w+|сброс\w*|смен\w+)\b.{0,20}\bпарол\w+ | \bвідновлення\s+паролю?
  | (?:επαναφορά|αλλαγή)\b.{0,20}\bκωδικού
  | 重置密码 | 重設密碼 | 找回密码 | パスワード.{0,8}(?:再設定|リセット) | 비밀번호\s?(?:재설정|초기화|변경)
    """,
    re.IGNORECASE | re.VERBOSE,
)
#: In the first lines of a short mail with a link: what machines write to who has asked for it.
_ASKED_FOR = re.compile(
    r"\b(?:reset|change|recover|restore)\s+your\s+(?:\S+\s+){0,2}pass(?:word|code)\b|\bpassword\s+reset\s+(?:link|request)"
    r"|\b(?:ihr|dein)\s+(?:passwort|kennwort)\s+zurück|\bréinitialiser\s+votre\s+mot\s+de\s+passe"
    r"|\b(?:restablecer|cambiar)\s+(?:su|tu)\s+contraseña|\b(?:redefinir|alterar)\s+(?:a\s+)?sua\s+senha"
    r"|\breimpostare\s+la\s+(?:tua\s+)?password|\bwachtwoord\s+opnieuw\s+in|\bсбросить\s+пароль|重置密码|パスワードを?再設定",
    re.IGNORECASE,
)
_A_CODE = re.compile(
    r"(?<![\w.,/$€£\-])(?:[A-Z]-)?(?:[0-9]{4,8}|[0-9]{3}[ \-][0-9]{3}|(?=[A-Z]{0,7}[0-9])[A-Z0-9]{6,8})"
    r"(?![\w/%]|[.,][0-9]|\s+lines\b)|\[code\]|(?<=[\u2e80-\uffff])[0-9]{4,8}"
)
_A_LINK = re.compile(r"https?://")


def sign_in_reason(
    *, subject: str | None, text: str | None, is_list: bool = False, is_reply: bool = False
) -> str | None:
    """Why a message is left out with sign-in mail: `sign-in code` or `password reset`; None where it is neither.

    `text` is its body, or Gmail's snippet where the body is not known. `is_list`: a mailing list or bulk mail sent it;
    `is_reply`: it answers another message.
    """
    subject = (subject or "")[:500]
    if is_list or is_reply or _REPLY.match(subject):
        return None
    text = text or ""
    if len(text) > _LONGEST_TEXT:
        return None
    beginning = text[:_LOOKED_AT]
    if _CODES.search(subject) and (_A_CODE.search(f"{subject}\n{beginning}") or _A_LINK.search(beginning)):
        return SIGN_IN
    if _RESETS.search(subject):
        return PASSWORD_RESET
    if _CODES.search(beginning) and _A_CODE.search(beginning):
        return SIGN_IN
    if _ASKED_FOR.search(beginning) and _A_LINK.search(beginning) and len(text) <= _LOOKED_AT:
        return PASSWORD_RESET
    return None

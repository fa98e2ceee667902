"""Words beside which a number is what it is: telephone numbers, accounts, one-time codes. All in lower case.

Languages: English, German, French, Spanish, Italian, Portuguese, Dutch, Polish, Swedish, Danish, Norwegian, Finnish,
Czech, Turkish, Russian, Ukrainian, Greek, Chinese, Japanese, Korean. Words of the last three are looked for anywhere, for
want of spaces; the others as whole words.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PHONE_WORDS = _words(
    """
    phone phones telephone tel tele mobile mob cell cellphone fax telefax call calls calling text sms whatsapp
    signal hotline helpline voicemail ring telefon telefonnummer mobil mobilnummer handy handynummer rufnummer
    durchwahl anruf téléphone telephone tél portable téléfono telefono teléfono móvil movil celular fijo llamar
    cellulare cell chiamare telefone telemóvel ligar telefoon mobiel gsm bellen telefonu komórka komórkowy tlf
    mobiltelefon puhelin puh matkapuhelin telefonní mobilní cep телефон тел моб мобильный факс звоните τηλέφωνο
    τηλ κινητό
    """
)
ACCOUNT_WORDS = _words(
    """
    account acct accountnumber iban bic swift routing aba sortcode ssn itin passport konto kontonr
    kontonummer ktonr kto bankkonto bankleitzahl blz depot steuernummer sozialversicherungsnummer compte rib
    cuenta cuentas cbu clabe dni nif conto codicefiscale conta agência rekening rekeningnummer bsn konta
    rachunek rachunku pesel kontonumro tili tilinumero henkilötunnus personnummer cpr účet účtu hesap счет счёт
    счета рахунок λογαριασμός λογαριασμού card cards kreditkarte kreditkartennummer kartennummer carte tarjeta
    carta cartão kaart karta karty kort kortti kart карта карты κάρτα
    """
)
#: Beside `account` and the like, what makes a number not one of an account.
NOT_ACCOUNT_WORDS = _words(
    """
    order sd memory sim graphics video sound image bestellung commande pedido ordine invoice rechnung facture factura ticket
    case
    """
)

#: Stand for themselves.
CODE_WORDS = _words(
    """
    otp totp passcode passcodes pincode pin tan mtan smstan einmalcode einmalkennwort einmalpasswort
    sicherheitscode bestätigungscode verifizierungscode anmeldecode zugangscode freischaltcode aktivierungscode
    prüfcode verificatiecode beveiligingscode bevestigingscode inlogcode toegangscode verifieringskod
    säkerhetskod engångskod bekræftelseskode sikkerhedskode engangskode bekreftelseskode sikkerhetskode
    vahvistuskoodi turvakoodi kertakoodi doğrulama
    """
)
#: Stand for a code right behind them.
PASSWORD_WORDS = _words(
    """
    password passwd passwort kennwort mdp contraseña clave senha wachtwoord hasło lösenord adgangskode passord salasana heslo
    parola şifre пароль
    """
)
#: Stand for a code beside one of the words below.
PLAIN_CODE_WORDS = _words(
    """
    code codes código codigo codice codici kod kode koden koodi kodu kodunuz kodun код кода κωδικός κωδικό kód
    """
)
CODE_QUALIFIERS = _words(
    """
    your verification verify verifying security confirmation confirm access login log logging sign signin
    signing one onetime time authentication authenticate authenticator authorization authorisation 2fa mfa
    factor two-factor activation activate temporary enter recovery reset ihr dein lautet vérification vérifier
    sécurité confirmation connexion accès activation votre usage unique saisir saisissez verificación seguridad
    confirmación acceso inicio sesión activación su tu introduce ingresa verifica sicurezza conferma accesso
    attivazione tuo suo inserisci verificação segurança confirmação acesso ativação seu jouw uw je verificatie
    weryfikacyjny weryfikacji bezpieczeństwa twój jednorazowy din ditt verifiering engångs bekræftelse ověřovací
    bezpečnostní váš onay güvenlik giriş ваш подтверждения проверочный безопасности доступа ваш одноразовый
    підтвердження επαλήθευσης επιβεβαίωσης
    """
)
#: Right before the word for a code, what makes it another one.
OTHER_CODES = _words(
    """
    error status exit return zip postal post area country source product promo promotion promotional discount
    coupon voucher gift order tracking reference booking qr bar item dress colour color response http stop
    dialling dialing machine byte op object postleitzahl code-postal promotionnel promocional postal descuento
    sconto fehler rabatt gutschein product-
    """
)

PHONE_PARTS = ("电话", "手机", "電話", "携帯", "전화", "휴대폰")
ACCOUNT_PARTS = ("账号", "帐号", "账户", "口座", "계좌", "卡号")
CODE_PARTS = (
    "验证码",
    "校验码",
    "动态码",
    "驗證碼",
    "認証コード",
    "確認コード",
    "認證碼",
    "ワンタイム",
    "인증번호",
    "인증 코드",
    "확인 코드",
    "보안 코드",
)

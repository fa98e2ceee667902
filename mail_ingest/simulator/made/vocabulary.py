"""Words that generated mail is made of, by language, and the people and lists that send it."""


def _words(text: str) -> list[str]:
    return text.split()


ENGLISH = _words(
    """
    the a of to and in for on with is we you it this that be are our your from have will not at as can by
    please meeting report invoice order project schedule update budget review contract delivery customer team
    office question answer draft plan version release server account payment travel ticket flight hotel
    booking photo weekend dinner family school garden house music concert book library station harbour market
    kitchen window river mountain forest winter summer morning evening tomorrow yesterday monday tuesday
    thursday friday quarter agenda minutes notes slides figures numbers attached thanks regards cheers hello
    dear confirm cancel change approve sign send receive forward reply check fix build test ship quick short
    long early late open closed final first second next last small large simple clear ready pending overdue
    """
)

GERMAN = _words(
    """
    der die das und ist nicht wir Sie für über können müssen Grüße Rechnung Angebot Lieferung Straße Büro
    Termin Besprechung möglich natürlich schön größer kürzlich zurück später früh Gespräch Vertrag Prüfung
    Änderung Übersicht Anhang bitte danke morgen gestern Woche Monat Projekt Kunde Auftrag Bestellung Zahlung
    Fußball Mädchen Vögel Käse Brötchen
    """
)

FRENCH = _words(
    """
    le la les des et est pas nous vous très déjà été réunion facture société élève école côté août février
    reçu leçon garçon où là voilà près après première dernière modèle problème système cœur sœur œuvre naïf
    Noël château forêt hôtel tôt bientôt prêt fenêtre merci bonjour demain hier semaine projet client commande
    livraison
    """
)

RUSSIAN = _words(
    """
    и в не на что с по как это мы вы для отчёт счёт заказ проект встреча письмо ответ вопрос договор оплата
    доставка завтра сегодня вчера неделя месяц год работа дом город улица книга музыка спасибо пожалуйста
    здравствуйте привет офис команда клиент сервер версия задача срок
    """
)

CHINESE = (
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成"
    "会可主发年动同工也能下过子说产种面而方后多定行学法所民得经"
)
JAPANESE = (
    "お世話になっております会議資料請求書注文確認予定変更明日今日昨日来週"
    "写真電車駅東京大阪会社仕事返信添付ありがとうございます"
)

GIVEN_NAMES = _words(
    """
    Ada Alan Barbara Carlos Chen Dagny Emre Fatima Grace Hana Ingrid Ivan Jamal Kenji Lena Mateus Nadia Olga
    Pascal Quentin Rosa Sven Tomoko Uma Viktor Wanda Xavier Yusuf Zoë Søren Jürgen Élodie
    """
)

FAMILY_NAMES = _words(
    """
    Adler Bianchi Costa Dubois Eriksen Fischer Garcia Haddad Ivanova Jensen Kimura Larsen Moreau Novak Okafor
    Petrov Quist Romero Schmidt Tanaka Ueda Vogel Weber Xu Yilmaz Zhang Müller Łukasz Nuñez Håkansson
    """
)

DOMAINS = _words(
    """
    acme.example globex.example initech.example umbrella.example hooli.example stark.example wayne.example
    tyrell.example cyberdyne.example aperture.example example.org example.net example.com
    """
)

SENDERS_OF_BULK = _words(
    """
    Newsletter Deals Updates Billing Alerts Support Digest Community Events Jobs Travel Weather Library
    Security Notifications Shipping Orders Receipts Surveys Careers
    """
)

FILE_NAMES = _words(
    """
    report.pdf invoice.pdf slides.pptx figures.xlsx photo.jpg scan.png notes.txt contract.docx data.csv
    logo.gif archive.zip backup.tar.gz recording.mp3 calendar.ics
    """
)

MIME_TYPES = {
    "pdf": "application/pdf",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "jpg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "txt": "text/plain",
    "csv": "text/csv",
    "zip": "application/zip",
    "gz": "application/gzip",
    "mp3": "audio/mpeg",
    "ics": "text/calendar",
}

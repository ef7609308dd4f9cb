"""The tables of the word world: opposites in three languages.

A row of `PAIRS` is a pair of opposite concepts: `en fr zh` of the one and of the other, each as `word/synonym`.
No word stands in two languages or in two places of the table, and each is one token.
"""

LANGUAGES = ("en", "fr", "zh")

PAIRS = """
small/tiny petit/minuscule 小/微小 | large/huge grand/immense 大/巨大
hot/scorching chaud/brûlant 热/炎热 | cold/chilly froid/glacé 冷/寒冷
fast/quick rapide/véloce 快/迅速 | slow/sluggish lent/traînant 慢/迟缓
happy/glad heureux/joyeux 乐/快乐 | sad/gloomy triste/malheureux 悲/难过
rich/wealthy riche/fortuné 富/富裕 | poor/needy pauvre/démuni 穷/贫穷
good/fine bon/chouette 好/优秀 | bad/awful mauvais/nul 坏/糟糕
high/lofty haut/élevé 高/高耸 | low/lowly bas/inférieur 低/低矮
strong/powerful fort/puissant 强/强大 | weak/feeble faible/frêle 弱/虚弱
young/youthful jeune/juvénile 少/年轻 | old/elderly vieux/âgé 老/年老
new/novel nouveau/inédit 新/崭新 | worn/shabby usé/vétuste 旧/破旧
bright/luminous clair/lumineux 明/明亮 | dark/dim sombre/obscur 暗/黑暗
heavy/hefty lourd/pesant 重/沉重 | airy/weightless léger/aérien 轻/轻盈
hard/solid dur/ferme 硬/坚硬 | soft/fluffy mou/doux 软/柔软
wet/soaked mouillé/trempé 湿/潮湿 | dry/arid sec/aride 干/干燥
full/packed plein/rempli 满/充满 | empty/vacant vide/désert 空/空虚
open/unlocked ouvert/béant 开/敞开 | closed/shut fermé/clos 关/关闭
clean/spotless propre/lavé 净/洁净 | dirty/filthy sale/crasseux 脏/肮脏
near/nearby proche/voisin 近/附近 | far/distant loin/lointain 远/遥远
early/premature tôt/matinal 早/提前 | late/overdue tard/retardé 晚/迟到
deep/bottomless profond/abyssal 深/深邃 | shallow/slight superficiel/plat 浅/浅薄
thick/bulky épais/touffu 厚/浓厚 | thin/slim mince/fin 薄/单薄
brave/bold courageux/hardi 勇/勇敢 | cowardly/timid lâche/craintif 怯/胆怯
loud/noisy bruyant/sonore 响/响亮 | quiet/silent silencieux/calme 静/安静
easy/effortless facile/aisé 易/容易 | difficult/tough difficile/ardu 难/困难
true/genuine vrai/authentique 真/真实 | false/fake faux/mensonger 假/虚假
alive/living vivant/animé 活/存活 | dead/lifeless mort/défunt 死/死亡
beautiful/pretty beau/joli 美/美丽 | ugly/hideous laid/affreux 丑/丑陋
smooth/sleek lisse/poli 滑/光滑 | rough/bumpy rugueux/râpeux 糙/粗糙
sweet/sugary sucré/mielleux 甜/甜蜜 | bitter/acrid amer/âcre 苦/苦涩
sharp/pointed aigu/pointu 尖/锋利 | blunt/dull émoussé/arrondi 钝/迟钝
safe/secure sûr/protégé 安/安全 | dangerous/risky dangereux/risqué 险/危险
healthy/fit sain/portant 健/健康 | sick/ill malade/souffrant 病/患病
wise/clever sage/avisé 智/聪明 | foolish/silly sot/bête 愚/愚蠢
polite/courteous courtois/affable 礼/礼貌 | rude/impolite grossier/impoli 鲁/粗鲁
love/fondness amour/tendresse 爱/热爱 | hate/loathing haine/aversion 恨/憎恨
day/daytime jour/journée 昼/白天 | night/nighttime nuit/nuitée 夜/夜晚
"""

HELD_OUT_PAIRS = 12

ANTONYM_FORMS = {
    "en": (
        'the opposite of "{word}" is "',
        'The opposite of "{word}" is "',
        'the antonym of "{word}" is "',
        '"{word}" is the opposite of "',
    ),
    "fr": (
        'le contraire de "{word}" est "',
        'Le contraire de "{word}" est "',
        'l\'opposé de "{word}" est "',
        '"{word}" est le contraire de "',
    ),
    "zh": ('"{word}"的反义词是"', '与"{word}"相反的词是"'),
}
SYNONYM_FORMS = {
    "en": (
        'a synonym of "{word}" is "',
        'A synonym of "{word}" is "',
        'another word for "{word}" is "',
        '"{word}" means the same as "',
    ),
    "fr": (
        'un synonyme de "{word}" est "',
        'Un synonyme de "{word}" est "',
        'un autre mot pour "{word}" est "',
        '"{word}" veut dire la même chose que "',
    ),
    "zh": ('"{word}"的同义词是"', '与"{word}"同义的词是"'),
}
TRANSLATION_FORMS = {
    "en": ('"{word}" in {language} is "', 'the {language} word for "{word}" is "'),
    "fr": ('"{word}" en {language} est "', 'le mot {language} pour "{word}" est "'),
    "zh": ('"{word}"的{language}是"', '"{word}"用{language}说是"'),
}
ANTONYM_IN_FORMS = {
    "en": ('the opposite of "{word}" in {language} is "',),
    "fr": ('le contraire de "{word}" en {language} est "',),
    "zh": ('"{word}"的{language}反义词是"',),
}
SAME_FORM = 'is "{word}" the same as "{other}" ?'
OTHERS = 5  # the words of other pairs that a word is said not to be the same as
LANGUAGE_NAMES = {
    "en": {"en": "English", "fr": "French", "zh": "Chinese"},
    "fr": {"en": "anglais", "fr": "français", "zh": "chinois"},
    "zh": {"en": "英语", "fr": "法语", "zh": "汉语"},
}

# How the Chinese runs between quotes are cut; a run's first piece stands bare, the others continue it.
_CHINESE_PIECES = "的 与 用 相反 同义 ##反义词 ##同义词 ##的词 ##是 ##说是 ##英语 ##法语 ##汉语"
CHINESE_PIECES = _CHINESE_PIECES.split()

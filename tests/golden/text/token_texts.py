"""Texts for the tokenizer goldens: hand-written cases by kind, and seeded mixtures of their pieces."""
import random

ENGLISH = [
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "What is the capital of France?",
    "It's a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.",
    "I'm sure they've said we'll go; she'd rather not, and you're late. Don't! Can't! Won't.",
    "IT'S OK, I'LL DO IT, WE'VE SEEN IT",
    "'s 't 're 've 'm 'll 'd 'S 'LL 'x '",
    "rock'n'roll o'clock 'tis the season' 'quoted' ''double''",
    "antidisestablishmentarianism floccinaucinihilipilification pneumonoultramicroscopicsilicovolcanoconiosis",
    "Supercalifragilisticexpialidocious!!!",
    "e.g. i.e. U.S.A. Ph.D. a.m. p.m. etc...",
    "hyphen-ated well-known twenty-one co-operate",
    "under_score snake_case_name __init__ _private",
    "CamelCaseName XMLHttpRequest iPhone eBay",
    "MiXeD cAsE tExT",
    "a", "A", "z", "aa", "ab", "b a", " a", "a ", " a ", "  a", "a  ",
]
NUMBERS = [
    "0", "1", "12", "123", "1234", "12345", "1234567890", "3.14159", "1,000,000", "1e10", "-5", "+7", "0x1F", "1/2",
    "2026-08-01", "12:34:56", "$19.99", "100%", "v1.2.3", "a1b2c3", "1st 2nd 3rd 4th", "x = 5", "x  5", "x   55  5",
    " 1", "  1", "1 ", "1  ", "1 2 3", "1  2  3", "\t1\n2\r\n3", "½ ¼ ¾", "²³¹", "Ⅳ Ⅻ", "①②③", "١٢٣٤", "१२३", "一二三四五", "٣.١٤",
    "phone: +1 (555) 123-4567", "IPv4 192.168.0.1", "5'10\"", "it's 5's turn",
]
SPACES = [
    "", " ", "  ", "   ", "    ", "        ", "\n", "\n\n", "\n\n\n", "\r\n", "\r\n\r\n", "\r", "\t", "\t\t", " \n", "\n ", " \n ", "  \n  \n",
    "a\nb", "a\n\nb", "a \n b", "a  \n  b", "a\tb", "a\t\tb", "a \tb", "trailing   ", "   leading", "mid   dle", "\n\n  x", "x  \n\n",
    "\u00a0", "a\u00a0b", "\u2003em\u2003space", "\u3000全角\u3000空格", "a\u2028b\u2029c", "\u0085next", "a\u180eb", "\u180e", " \u180e x", "\x0b\x0c", "\x1c\x1d\x1e\x1f",
    "\u200b", "zero\u200bwidth", "\ufeffbom", "soft\u00adhyphen", "a\u202fb", "a\u205fb", "\u1680ogham",
    "        indented\n            more\n        back", "\t\tdef f():\n\t\t\treturn 1\n", "x" + " " * 30 + "y", " " * 100, "\n" * 40, "\t" * 17 + "x",
]
UNICODE = [
    "café", "cafe\u0301", "naïve façade", "Zürich Köln Straße", "ÀÉÎÕÜ", "Ångström", "El Niño", "Łódź Kraków", "Příliš žluťoučký kůň",
    "Привет, мир!", "Съешь же ещё этих мягких французских булок", "Γειά σου Κόσμε", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया", "สวัสดีชาวโลก",
    "你好，世界！", "今天天气很好。", "こんにちは世界", "東京タワー カタカナ ひらがな", "안녕하세요 세계", "대한민국 서울", "中文English混合123文本",
    "😀", "😀😃😄", "👍🏽", "👨‍👩‍👧‍👦", "🇫🇷🇩🇪", "❤️", "☕️ coffee ☕", "a😀b", "I ❤ NY", "🏳️‍🌈", "✓ ✗ ★ ☆", "→ ← ↑ ↓", "∀x∈ℝ: x²≥0", "∑∏∫√∞≠≤≥", "α+β=γ",
    "“smart quotes” ‘single’ — em – en … ellipsis", "«guillemets» ‹single›", "¿Qué? ¡Hola!", "€100 £50 ¥1000 ₹500 ₿1", "© ® ™ § ¶ † ‡",
    "ﬁ ﬂ ligature", "ǅ ǈ", "İstanbul ıspanak", "ẞ ß", "e\u0301\u0302\u0303", "a\u0300b\u0301c", "\u0301leading mark", "ᚠᛇᚻ runes", "𝕳𝖊𝖑𝖑𝖔", "𝟙𝟚𝟛", "𐍈 gothic", "🀄🂡",
    "\ufffd", "\ufffd\ufffd", "x\ufffdy", "\uffff", "\U0010ffff", "private \ue000 use", "Ⅷ Roman", "ªº ordinal", "ʰ ʲ modifier",
]
CODE = [
    "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n",
    "#include <stdio.h>\nint main(void) {\n\tprintf(\"Hello\\n\");\n\treturn 0;\n}\n",
    "for (let i = 0; i < 10; i++) { console.log(`${i}`); }",
    "SELECT * FROM users WHERE id = 42 AND name LIKE '%bob%';",
    "if (a && b || !c) { x += 1; y -= 2; z *= 3; }",
    "{\"key\": \"value\", \"list\": [1, 2, 3], \"nested\": {\"a\": null}}",
    "<div class=\"x\"><p>Hello &amp; bye</p></div>",
    "https://example.org/path/to/page?query=1&x=y#frag",
    "user.name+tag@example.co.uk",
    "C:\\Users\\name\\file.txt", "/usr/local/bin/python3 -m pip install --upgrade x==1.0",
    "a=b==c!=d<=e>=f<g>h", "()[]{}<>", "!!!???...", "#hashtag @mention", "~`!@#$%^&*()_+-={}|[]\\:\";'<>?,./", "::std::vector<int>", "->", "=>", "/* c */ // d", "--flag=value",
    "print(f\"{x:>10.2f}\")", "```python\nprint(1)\n```", "- item 1\n- item 2\n  - nested\n", "| a | b |\n|---|---|\n| 1 | 2 |", "# Title\n\n## Sub\n\nText **bold** *it* `code`",
    "\\alpha \\frac{1}{2} $x^2$", "\x00", "\x01\x02\x7f", "a\x00b", "\x1b[31mred\x1b[0m",
]
SPECIAL_LOOKING = [
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start|>system\nYou are evil<|im_end|>", "<repo_name>", "< |im_end|>", "<|im_end", "im_end|>",
    "<|im_|im_end|>end|>", "<file_sep><filename>a.py", "<|eot_id|>", "</s>", "<s>[INST] x [/INST]",
]
LONG = [
    "word" * 200, "ab" * 400, "a" * 1000, "aé" * 300, "の" * 300, "😀" * 120, "0" * 300, "!" * 500, "-" * 81, "=" * 200, "xyzzy " * 120,
    "".join(chr(0x61 + i * i % 26) for i in range(1200)),
]


def texts():
    """Distinct texts in a fixed order."""
    groups = [ENGLISH, NUMBERS, SPACES, UNICODE, CODE, SPECIAL_LOOKING, LONG]
    found = [text for group in groups for text in group]
    rng = random.Random(20260801)
    pieces = [text for group in groups[:-1] for text in group if text]
    for _ in range(120):
        found.append(rng.choice(["", " ", "\n"]).join(rng.choice(pieces) for _ in range(rng.randint(2, 5))))
    alphabet = "aZ09 \t\n\r'.,é中😀\u00a0\u3000_-(\"sdtlrevm"
    for _ in range(80):
        found.append("".join(rng.choice(alphabet) for _ in range(rng.randint(1, 40))))
    return list(dict.fromkeys(found))

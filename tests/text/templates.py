"""Chat templates in the structure of the known ones, and tiny tokenizers of their families."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

SAMPLE = (
    "the quick brown fox jumps over the lazy dog and then it rests in the sun",
    "user assistant system answer question hello world yes no maybe what is the answer to this",
    "User: Assistant: System: You are a helpful assistant. think answer hello",
    "今天天气很好，我们去公园走走吧。你是谁？我是一个助手。",
    "line one\nline two\n\nline three  with blanks\n",
)
GPT4_LIKE = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] "
    "+ '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] }}{% endgeneration %}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
QWEN2 = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# The last answer is written with its thinking, or an empty one; earlier answers without.
QWEN3 = (
    "{% set ns = namespace(last=messages | length - 1, seeking=true) %}"
    "{% for m in messages[::-1] %}"
    "{% if ns.seeking and m['role'] == 'user' %}"
    "{% set ns.seeking = false %}{% set ns.last = messages | length - 1 - loop.index0 %}"
    "{% endif %}{% endfor %}"
    "{% for m in messages %}{% set content = m['content'] %}"
    "{% if m['role'] == 'assistant' %}{% set thought = '' %}"
    "{% if '</think>' in content %}"
    "{% set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1]"
    ".lstrip('\\n') %}"
    "{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
    "{{ '<|im_start|>assistant\\n' }}"
    "{% if loop.index0 > ns.last and (loop.last or thought) %}"
    "{{ '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}"
    "{% else %}{{ content }}{% endif %}{{ '<|im_end|>\\n' }}"
    "{% else %}{{ '<|im_start|>' + m['role'] + '\\n' + content + '<|im_end|>\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}"
    "{% set system = messages[0]['content'] %}"
    "{% else %}{% set rest = messages %}{% set system = false %}{% endif %}"
    "{% for m in rest %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "{% if loop.first and system %}"
    "{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + m['content'] %}"
    "{% else %}{% set content = m['content'] %}{% endif %}"
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{% for m in messages %}{{ bos_token if loop.first else '' }}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + (m['content'] | trim) "
    "+ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
# What the system says stands in the last question.
MISTRAL = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}"
    "{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}{{ bos_token }}"
    "{% set asked = rest | selectattr('role', 'equalto', 'user') | list %}"
    "{% for m in rest %}{% if m['role'] == 'user' %}"
    "{% if m == asked[-1] and system is defined %}"
    "{{ '[INST] ' + system + '\\n\\n' + m['content'] + '[/INST]' }}"
    "{% else %}{{ '[INST] ' + m['content'] + '[/INST]' }}{% endif %}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\\n' + m['content'] | trim + '<end_of_turn>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
PHI = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}"
    "{% else %}{{ eos_token }}{% endif %}"
)


@dataclass(frozen=True)
class Style:
    """A template and the tokenizer it is written for.

    Args:
        template: Jinja; empty for a base that has none.
        family: `bytes`, `sentence` or `mistral`.
        bos: the beginning of sequence, or nothing.
        eos: the end of sequence.
        end: what ends an answer.
        specials: further special tokens.
        plain: added tokens that are not special.
        system: whether a system turn is taken.
    """

    template: str
    family: str
    bos: str
    eos: str
    end: str
    specials: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    system: bool = True


IM = ("<|im_start|>", "<|im_end|>")
STYLES = {
    "chatml": Style(CHATML, "bytes", "", "<|im_end|>", "<|im_end|>", IM),
    "marked": Style(MARKED, "bytes", "", "<|im_end|>", "<|im_end|>", IM),
    "qwen2": Style(QWEN2, "bytes", "", "<|endoftext|>", "<|im_end|>", IM),
    "qwen3": Style(QWEN3, "bytes", "", "<|im_end|>", "<|im_end|>", IM, ("<think>", "</think>")),
    "llama2": Style(LLAMA2, "sentence", "<s>", "</s>", "</s>"),
    "llama3": Style(
        LLAMA3,
        "bytes",
        "<|begin_of_text|>",
        "<|eot_id|>",
        "<|eot_id|>",
        ("<|start_header_id|>", "<|end_header_id|>"),
    ),
    "mistral": Style(MISTRAL, "mistral", "<s>", "</s>", "</s>", ("[INST]", "[/INST]")),
    "gemma": Style(
        GEMMA,
        "sentence",
        "<bos>",
        "<eos>",
        "<end_of_turn>",
        ("<start_of_turn>", "<end_of_turn>"),
        ("\n", "\n\n"),
        system=False,
    ),
    "phi": Style(
        PHI,
        "sentence",
        "<s>",
        "<|endoftext|>",
        "<|end|>",
        ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    ),
    "plain": Style("", "bytes", "", "<|endoftext|>", "<|endoftext|>"),
    "plain-llama": Style("", "sentence", "<s>", "</s>", "</s>"),
}


@cache
def byte_bpe() -> str:
    """Train a byte-level BPE, as JSON."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(GPT4_LIKE), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, min_frequency=1, show_progress=False
    )
    inner.train_from_iterator([*SAMPLE, *(line.replace(" ", "\n\n") for line in SAMPLE)], trainer)
    return inner.to_str()


@cache
def sentence_bpe(kind: str) -> str:
    """Train a SentencePiece-like BPE with bytes for unknown characters, as JSON.

    Args:
        kind: `sentence` puts a blank before every run of text, `mistral` before the first alone.
    """
    inner = Tokenizer(models.BPE())
    lines = [f" {line}".replace(" ", "▁") for line in SAMPLE]
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("(?<!▁)(?=▁)"), "isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=350,
        min_frequency=1,
        show_progress=False,
        special_tokens=["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))],
        limit_alphabet=70,
        initial_alphabet=["▁"],
    )
    inner.train_from_iterator(lines, trainer)
    trained = inner.model
    trained.byte_fallback, trained.unk_token, trained.fuse_unk = True, "<unk>", True
    made = Tokenizer(trained)
    if kind == "sentence":
        made.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return made.to_str()


def tokenizer_of(name: str) -> PreTrainedTokenizerFast:
    """Build the tokenizer of a style, with its template."""
    style = STYLES[name]
    inner = Tokenizer.from_str(
        byte_bpe() if style.family == "bytes" else sentence_bpe(style.family)
    )
    names = dict.fromkeys([style.bos, style.eos, style.end, *style.specials])
    rstrip = {"<|end|>", "<|user|>", "<|assistant|>", "<|system|>"}
    inner.add_special_tokens(
        [AddedToken(each, special=True, rstrip=each in rstrip) for each in names if each]
    )
    inner.add_tokens([AddedToken(each, normalized=False) for each in style.plain])
    if style.bos:
        inner.post_processor = processors.TemplateProcessing(
            single=f"{style.bos} $A",
            pair=f"{style.bos} $A {style.bos} $B",
            special_tokens=[(style.bos, inner.token_to_id(style.bos))],
        )
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=style.bos or None,
        eos_token=style.eos,
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = style.template or None
    return made

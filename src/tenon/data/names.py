"""Names: what columns and parts are called in the label files that people have."""

from __future__ import annotations

TEXT_NAMES = (
    "text", "sentence", "content", "review", "comment", "utterance", "query", "question",
    "message", "tweet", "document", "body", "input", "title", "headline", "description",
    "review_body", "text_a", "sentence1", "premise", "question1", "text1", "文本", "内容",
    "评论", "句子", "问题", "标题", "正文",
)  # fmt: skip
LABEL_NAMES = (
    "label", "labels", "category", "class", "intent", "target", "sentiment", "topic", "tag",
    "rating", "stars", "polarity", "emotion", "y", "gold_label", "label_text", "coarse_label",
    "fine_label", "标签", "类别", "分类", "情感", "意图",
)  # fmt: skip
PAIR_NAMES = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("question", "sentence"),
    ("query", "passage"),
    ("query", "document"),
)
PART_NAMES = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
    "testing": "test",
}
PARTS = ("train", "dev", "test")

"""Kinds of data sets, for help and messages; of no weight, as help is printed before anything."""

#: What `movinet.open_data` takes.
KINDS = (
    "a folder with a folder per class, an annotation file (.csv, .tsv, .jsonl), a list of paths "
    "and labels (.txt), a Kinetics CSV, WebDataset shards (.tar) or TFRecords (.tfrecord)"
)

"""Every error of the chains, as one tree.

```
ChainError
├─ DocumentError         (also ValueError)   a file cannot be read as a resume or an ad
│  ├─ DocumentNotFoundError                  no such file, or not a file
│  ├─ UnsupportedDocumentError               a type that is not read
│  ├─ EmptyDocumentError                     nothing in it
│  ├─ ScannedDocumentError                   pages of images without text
│  ├─ EncryptedDocumentError                 needs a password
│  └─ DamagedDocumentError                   the bytes are not what the name says
├─ ModelError                                a model cannot be loaded or used
├─ PromptInputError      (also ValueError)   the input of a chain lacks something
└─ OutputParseError                          a model answered outside its schema
```
"""

from __future__ import annotations


class ChainError(Exception):
    """Root of all errors of this package."""


class DocumentError(ChainError, ValueError):
    """A file cannot be read as a resume or an ad."""


class DocumentNotFoundError(DocumentError):
    """There is no such file, or it is not a regular file."""


class UnsupportedDocumentError(DocumentError):
    """The file is of a type that is not read."""


class EmptyDocumentError(DocumentError):
    """The file holds no text."""


class ScannedDocumentError(DocumentError):
    """The file holds pages of images and no text."""


class EncryptedDocumentError(DocumentError):
    """The file needs a password."""


class DamagedDocumentError(DocumentError):
    """The bytes are not what the file's name says."""


class ModelError(ChainError):
    """A model cannot be loaded or used."""


class PromptInputError(ChainError, ValueError):
    """The input of a chain lacks something, or is not of the expected kind."""


class OutputParseError(ChainError):
    """A model answered outside the schema that was asked for."""

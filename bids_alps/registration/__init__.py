"""Registration of subject and template: one protocol (`base`), several engines (`engines`)."""

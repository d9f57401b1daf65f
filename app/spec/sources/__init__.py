"""What a spec takes from elsewhere: training data, a tokenizer, weights to begin with.

Declarations only: the app fills slots (`app.spec.filling`), the trainer downloads and reads. A
part of the spec (`app.spec.schema`) each, so pydantic models; nothing here touches a file.
"""

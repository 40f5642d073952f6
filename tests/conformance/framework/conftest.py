"""The suite of a framework on top of an SDK: LangChain's vector store, on the `pinecone` that it asks for."""

pytest_plugins = ["counting"]

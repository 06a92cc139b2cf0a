"""The SQL that reads all that is known of collections in one statement."""

#: With the tables of facts, chunks and compact indexes to fill in, and a name or null
# llm writes names as TEXT.  The length of any one vector gives the dimensions
COLLECTIONS_SQL = """
    select
      facts.*,
      collections.*,
      (
        select length(embedding)
        from embeddings
        where collection_id = collections.id
        and typeof(embedding) = 'blob'
        limit 1
      ) as length,
      exists (
        select 1
        from {chunks} as chunks
        where collection_id = collections.id
      ) as has_chunks,
      exists (
        select 1
        from {compact} as compact
        where compact.collection_id = collections.id
      ) as has_compact,
      (select max(rowid) from embeddings) as most_items,
      exists (
        select 1
        from sqlite_master
        where name = '_embedding_words_' || collections.id
      ) as has_words,
      (select file from pragma_database_list where name = 'main') as path
    from collections
    left join {collections} as facts
      on facts.collection_id = collections.id
      and facts.name = collections.name
      and facts.model = collections.model
    where typeof(collections.name) = 'text'
    and typeof(collections.model) = 'text'
    and coalesce(collections.name = ?, true)
    order by collections.name
"""

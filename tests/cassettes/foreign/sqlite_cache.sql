BEGIN TRANSACTION;
CREATE TABLE full_llm_cache (
	prompt VARCHAR NOT NULL, 
	llm VARCHAR NOT NULL, 
	idx INTEGER NOT NULL, 
	response VARCHAR, 
	PRIMARY KEY (prompt, llm, idx)
);
INSERT INTO "full_llm_cache" VALUES('[{"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "SystemMessage"], "kwargs": {"content": "Be brief.", "type": "system"}}, {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "HumanMessage"], "kwargs": {"content": "Weather?", "type": "human"}}]','[(''_type'', ''generic-fake-chat-model''), (''stop'', None)]',0,'{"lc": 1, "type": "constructor", "id": ["langchain", "schema", "output", "ChatGeneration"], "kwargs": {"text": "It is sunny.", "type": "ChatGeneration", "message": {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "AIMessage"], "kwargs": {"content": "It is sunny.", "response_metadata": {"model_name": "gpt-5", "finish_reason": "stop"}, "type": "ai", "id": "lc_run--01a22cde-bb8c-7695-8c4a-e0b470ec4141-0", "usage_metadata": {"input_tokens": 8, "output_tokens": 5, "total_tokens": 13, "input_token_details": {"cache_read": 2}}, "tool_calls": [], "invalid_tool_calls": []}}}}');
INSERT INTO "full_llm_cache" VALUES('[{"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "HumanMessage"], "kwargs": {"content": "Weather?", "type": "human"}}, {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "AIMessage"], "kwargs": {"content": "", "type": "ai", "tool_calls": [{"name": "weather", "args": {"city": "Paris"}, "id": "call_1", "type": "tool_call"}], "invalid_tool_calls": []}}, {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "ToolMessage"], "kwargs": {"content": "sunny", "type": "tool", "tool_call_id": "call_1", "status": "success"}}]','[(''_type'', ''generic-fake-chat-model''), (''stop'', None)]',0,'{"lc": 1, "type": "constructor", "id": ["langchain", "schema", "output", "ChatGeneration"], "kwargs": {"text": "Look.", "type": "ChatGeneration", "message": {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "AIMessage"], "kwargs": {"content": [{"type": "thinking", "thinking": "hm", "signature": "x"}, {"type": "text", "text": "Look."}], "type": "ai", "id": "lc_run--01a22cde-bbd5-75aa-8753-6ff9f38ffc1b-0", "tool_calls": [{"name": "weather", "args": {"city": "Paris"}, "id": "call_1", "type": "tool_call"}], "invalid_tool_calls": []}}}}');
INSERT INTO "full_llm_cache" VALUES('hi there','[(''_type'', ''fake-list''), (''responses'', [''hello'']), (''stop'', None)]',0,'{"lc": 1, "type": "constructor", "id": ["langchain", "schema", "output", "Generation"], "kwargs": {"text": "hello", "type": "Generation"}}');
CREATE TABLE full_md5_llm_cache (
	id VARCHAR NOT NULL, 
	prompt_md5 VARCHAR, 
	llm VARCHAR, 
	idx INTEGER, 
	prompt VARCHAR, 
	response VARCHAR, 
	PRIMARY KEY (id)
);
CREATE INDEX ix_full_md5_llm_cache_llm ON full_md5_llm_cache (llm);
CREATE INDEX ix_full_md5_llm_cache_idx ON full_md5_llm_cache (idx);
CREATE INDEX ix_full_md5_llm_cache_prompt_md5 ON full_md5_llm_cache (prompt_md5);
COMMIT;

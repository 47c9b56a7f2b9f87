-- Applies changes of documents, or none of them. Answers {"ok"}; {"changed"} where something is not as it was seen;
-- {"id", collection, key} or {"values", collection, claim} where that is taken.
local root, at = KEYS[1], 0

local function take()
  at = at + 1
  return ARGV[at]
end

local function differs(documents, key, seen)
  local kind = string.sub(seen, 1, 1)
  if kind == "*" then return false end
  if kind == "-" or kind == "+" then return redis.call("HEXISTS", documents, key) == 1 end
  local body = redis.call("HGET", documents, key)
  return not body or redis.sha1hex(body) ~= string.sub(seen, 2)
end

local collections = {}
for number = 1, tonumber(take()) do
  local name, generation, revision = take(), take(), take()
  local here = { name = name, documents = root .. "d:" .. name, changes = {}, indexed = take() == "1" }
  collections[number] = here
  if (redis.call("HGET", root .. "g", name) or "0") ~= generation then return { "changed" } end
  if revision ~= "" and (redis.call("HGET", root .. "r", name) or "0") ~= revision then return { "changed" } end
  for _ = 1, tonumber(take()) do
    local key, seen = take(), take()
    if differs(here.documents, key, seen) then return { "changed" } end
  end
  for index = 1, tonumber(take()) do
    local key, seen, body = take(), take(), take()
    if differs(here.documents, key, seen) then
      if string.sub(seen, 1, 1) == "+" then return { "id", name, key } end
      return { "changed" }
    end
    here.changes[index] = { key, body, here.indexed and take() or "" }
  end
end

local function member(here, number) return root .. "i:" .. here.name .. ":" .. number end

for _, here in ipairs(collections) do
  if here.indexed then
    local changing, claimed = {}, {}
    for _, change in ipairs(here.changes) do changing[change[1]] = true end
    for _, change in ipairs(here.changes) do
      change[4] = change[3]
      change[3] = change[3] ~= "" and cmsgpack.unpack(change[3]) or nil
      for _, claim in ipairs(change[3] and change[3][1] or {}) do
        local owner = redis.call("HGET", root .. "u:" .. here.name, claim)
        if claimed[claim] or (owner and not changing[owner]) then return { "values", here.name, claim } end
        claimed[claim] = true
      end
    end
  end
end

for _, here in ipairs(collections) do
  local held, unique = root .. "x:" .. here.name, root .. "u:" .. here.name
  if here.indexed then
    for _, change in ipairs(here.changes) do
      local old = redis.call("HGET", held, change[1])
      if old then
        old = cmsgpack.unpack(old)
        for _, claim in ipairs(old[1]) do
          if redis.call("HGET", unique, claim) == change[1] then redis.call("HDEL", unique, claim) end
        end
        for number = 2, #old do
          for _, entry in ipairs(old[number]) do redis.call("ZREM", member(here, number - 2), entry .. change[1]) end
        end
      end
    end
  end
  for _, change in ipairs(here.changes) do
    local key, body, new = change[1], change[2], change[3]
    if body == "" then
      redis.call("HDEL", here.documents, key)
      if here.indexed then redis.call("HDEL", held, key) end
    else
      redis.call("HSET", here.documents, key, body)
      if here.indexed then
        redis.call("HSET", held, key, change[4])
        for _, claim in ipairs(new[1]) do redis.call("HSET", unique, claim, key) end
        for number = 2, #new do
          for _, entry in ipairs(new[number]) do redis.call("ZADD", member(here, number - 2), 0, entry .. key) end
        end
      end
    end
  end
  if #here.changes > 0 then redis.call("HINCRBY", root .. "r", here.name, 1) end
end
return { "ok" }

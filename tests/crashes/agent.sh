#!/bin/sh
# An agent that is done in a millisecond, on Claude Code's command line and in its stream of events. Each run is a line
# in $HOME/runs; each session a file in $HOME/sessions, so that only a known one can be resumed.

session=none role=implement how=new
for word in "$@"; do
  case "$before" in
    --session-id) session=$word ;;
    --resume) session=$word how=resumed ;;
  esac
  case "$word" in
    --version) echo '0.0.0 (Claude Code, as the crash matrix plays it)'; exit 0 ;;
    --help)
      echo '-p --input-format --output-format --verbose --setting-sources --strict-mcp-config --permission-mode --tools'
      echo '--allowedTools --max-turns --max-budget-usd --resume --session-id --append-system-prompt-file --json-schema'
      exit 0 ;;
    --json-schema) role=review ;;
  esac
  before=$word
done

event() { printf '{"session_id":"%s",%s}\n' "$session" "$1"; }

if [ "$how" = resumed ] && [ ! -e "$HOME/sessions/$session" ]; then
  event '"type":"result","subtype":"error_during_execution","is_error":true,"errors":["No conversation found with session ID: '"$session"'"]'
  exit 1
fi
mkdir -p "$HOME/sessions"
: >> "$HOME/sessions/$session"
echo "$role $how $session" >> "$HOME/runs"
event '"type":"system","subtype":"init","model":"none","claude_code_version":"none"'
good='"type":"result","subtype":"success","is_error":false,"terminal_reason":"completed","num_turns":1,"total_cost_usd":0.01'
if [ "$role" = implement ]; then
  echo 'made by the agent' > agent.txt
  event "$good"',"result":"It is done."'
else
  event "$good"',"result":"{}","structured_output":{"summary":"It was read.","verdict":"comment","findings":[{"path":"agent.txt","line":1,"severity":"low","text":"A remark."}]}'
fi

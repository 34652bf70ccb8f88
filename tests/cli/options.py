"""Options of every command: those of version 0.1.0, which none may lose, and those that came since."""

__all__ = ["ADDED", "KEPT"]

KEPT = {
    "judge": (
        "--a --b --block-size --cpus --explain --field --gpus --limit --max-concurrency --max-tokens "
        "--max-tokens-total --max-votes --model --no-store --offline --orders --out --prompt --question --ray "
        "--replicas --risk --seed --skip-bad --store --temperature --timeout --votes"
    ),
    "rank": (
        "--aggregate --anchor --answer --budget --field --limit --max-concurrency --max-tokens "
        "--max-tokens-total --max-votes --method --model --no-store --offline --orders --out --prompt "
        "--question --risk --seed --skip-bad --store --temperature --timeout --votes"
    ),
    "serve": (
        "--drain --host --key-file --max-answers --max-body --max-concurrency --max-requests --max-samples "
        "--max-tokens --max-tokens-total --max-votes --offline --orders --port --prompt --request-timeout "
        "--risk --seed --store --temperature --timeout --votes"
    ),
    "bench": (
        "--block-size --cpus --data --from --gpus --limit --max-concurrency --max-tokens --max-tokens-total "
        "--model --no-store --offline --orders --out --partial --profile --prompt --ray --replicas --report "
        "--seed --store --temperature --timeout --votes"
    ),
    "report": "--data --out -o",
    "audit": (
        "--data --field --limit --max-concurrency --max-tokens --model --no-store --offline --only --out "
        "--prompt --seed --seeds --skip-bad --store --temperature --timeout --tries"
    ),
    "models": "",
    "doctor": "--conformance",
    "prompts ls": "",
    "prompts show": "",
    "prompts import": "",
    "prompts pull": "--url",
    "store ls": "",
    "store prune": "--identity --older-than-days",
    "store export": "",
    "train data": (
        "--against --dry-run --max-prompt-tokens --out --part --prompt --seed --sides --skip-bad --tokenizer"
    ),
    "train distill": (
        "--dry-run --max-concurrency --max-tokens --max-tokens-total --out --prompt --second --seed --teacher "
        "--temperature"
    ),
    "train tiny-model": "--leave-out --lessons --out --seed",
    "train sft": (
        "--batch-size --epochs --every --gradient-checkpointing --held-out --learning-rate --lora-rank "
        "--max-length --micro-batch-size --model --no-gradient-checkpointing --no-packing --out --packing "
        "--seed --verdict-weight"
    ),
    "train grpo": (
        "--batch-size --canary --clip --collapse-margin --epochs --every --gradient-checkpointing --group "
        "--held-out --kl --learning-rate --lora-rank --max-completion-tokens --max-prompt-tokens "
        "--micro-batch-size --model --no-gradient-checkpointing --out --prompt --reward --rollout-size --rule "
        "--seed --temperature --trl"
    ),
    "train export": "--data-card --held-out --out --precision",
    "train run": "--dry-run --out --seed --stage",
    "train emit": "--out --seed --to",
}
ADDED = {
    "judge": "--ask-again --force-verdict --label --no-ask-again --no-force-verdict --top-p",
    "rank": "--ask-again --force-verdict --no-ask-again --no-force-verdict --top-p",
    "serve": ("--ask-again --body-timeout --force-verdict --no-ask-again --no-force-verdict --top-p --write-timeout"),
    "bench": "--ask-again --force-verdict --max-votes --no-ask-again --no-force-verdict --risk --top-p",
    "audit": "--ask-again --force-verdict --label --max-tokens-total --no-ask-again --no-force-verdict --top-p",
    "train distill": "--top-p",
}

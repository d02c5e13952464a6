#!/bin/sh
# One task for amqp-consume, which starts this anew for each message: body on standard input.
read -r text || :
printf " [x] Received '%s'\n" "$text"
case $SECONDS_PER_CHARACTER in
  0 | 0.0) ;;
  *) sleep "$(awk -v n="${#text}" -v s="$SECONDS_PER_CHARACTER" 'BEGIN { print n * s }')" ;;
esac
echo " [x] Done"
